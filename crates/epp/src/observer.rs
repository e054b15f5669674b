//! A response on its way past the picker: where it came from, and how the endpoint fares.

use std::net::SocketAddr;

use bytes::Bytes;
use pailou_ai::ResponseReader;
use pailou_envoy_proto::ext_proc::HttpHeaders;
use pailou_picker::Picked;
use pailou_snapshot::Address;

/// A request's place at its endpoint, until its response has ended.
pub(crate) struct ResponseObserver {
    picked: Picked,
    /// The endpoints in the reply.
    endpoints: Vec<SocketAddr>,
    /// No status, or one of a server's error, was seen.
    is_failing: bool,
    reader: Option<ResponseReader>,
    has_content: bool,
}

impl ResponseObserver {
    pub(crate) fn new(picked: Picked, endpoints: Vec<SocketAddr>) -> Self {
        Self { picked, endpoints, is_failing: true, reader: None, has_content: false }
    }

    /// The response's head, and the endpoint that it came from, where the proxy says so.
    pub(crate) fn head(&mut self, head: &HttpHeaders, served: Option<&str>) {
        if let Some(served) = served.and_then(|served| served.parse().ok()) {
            self.moved(served);
        }
        let headers = head.headers.as_ref().map(|headers| headers.headers.as_slice()).unwrap_or_default();
        let value = |name: &str| headers.iter().find(|header| header.key == name).map(|header| header.bytes());
        let status = value(":status").unwrap_or_default();
        self.is_failing = status.first().is_none_or(|class| *class == b'5');
        if status == b"503" {
            self.picked.failed();
        }
        self.reader = match (value("content-type"), value("content-encoding")) {
            (Some(kind), None) => ResponseReader::of(kind),
            _ => None,
        };
    }

    /// A piece of the response's body.
    pub(crate) fn piece(&mut self, piece: &Bytes) {
        let has_content = match &mut self.reader {
            Some(reader) => reader.feed(piece).content,
            None => !piece.is_empty(),
        };
        if has_content && !self.has_content && !self.is_failing {
            self.has_content = true;
            self.picked.first_token();
        }
    }

    /// The response has ended.
    pub(crate) fn ended(self) {
        if !self.is_failing {
            self.picked.finished(self.reader.and_then(|reader| reader.usage()).and_then(|usage| usage.cached_tokens));
        }
    }

    /// The endpoints before the one that served did not take the request.
    fn moved(&mut self, served: SocketAddr) {
        if !self.endpoints.contains(&served) {
            return;
        }
        while self.picked.endpoint().endpoint().address != Address::Socket(served) {
            if !self.picked.fail_over() {
                return;
            }
        }
    }
}
