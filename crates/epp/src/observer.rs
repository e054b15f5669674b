//! A response on its way past the picker: where it came from, and how the endpoint fares.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use pailou_ai::{ModelRename, ResponseReader};
use pailou_envoy_proto::ext_proc::{HttpHeaders, ProcessingResponse};
use pailou_picker::{Eviction, Picked};
use pailou_snapshot::Address;

/// A request's place at its endpoint, until its response has ended.
pub(crate) struct ResponseObserver {
    picked: Picked,
    /// The place of its prefill, where that is elsewhere, until the first content.
    prefill: Option<Picked>,
    /// Its prompt came from another endpoint.
    is_prefilled: bool,
    /// The endpoints in the reply.
    endpoints: Vec<SocketAddr>,
    /// No status, or one of a server's error, was seen.
    is_failing: bool,
    reader: Option<ResponseReader>,
    has_content: bool,
    /// The engine's name for the model and the client's.
    names: Option<(Arc<str>, Box<str>)>,
    rename: Option<ModelRename>,
    /// Reply for the client if the request is evicted, where that may be.
    evicted: Option<Box<ProcessingResponse>>,
}

impl ResponseObserver {
    pub(crate) fn new(
        mut picked: Picked,
        prefill: Option<Picked>,
        endpoints: Vec<SocketAddr>,
        names: Option<(Arc<str>, Box<str>)>,
        evicted: Option<Box<ProcessingResponse>>,
    ) -> Self {
        let is_prefilled = prefill.is_some();
        picked.prefill_elsewhere(is_prefilled);
        Self {
            picked,
            prefill,
            is_prefilled,
            endpoints,
            is_failing: true,
            reader: None,
            has_content: false,
            names,
            rename: None,
            evicted,
        }
    }

    /// Signal that the request is to give up its place, and the reply for its client then; `None` where it need not.
    pub(crate) fn eviction(&mut self) -> Option<(Arc<Eviction>, Box<ProcessingResponse>)> {
        self.picked.eviction().cloned().zip(self.evicted.take())
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
        self.rename = match (&self.names, &self.reader) {
            (Some((engine, client)), Some(reader)) => Some(ModelRename::new(engine, client, reader.reads_events())),
            _ => None,
        };
    }

    /// Whether the body changes.
    pub(crate) fn renames(&self) -> bool {
        self.rename.is_some()
    }

    /// A piece as the client gets it; `is_last` says that none follows.
    pub(crate) fn renamed(&mut self, piece: Bytes, is_last: bool) -> Bytes {
        match &mut self.rename {
            Some(rename) => rename.feed(&piece, is_last),
            None => piece,
        }
    }

    /// A piece of the response's body.
    pub(crate) fn piece(&mut self, piece: &Bytes) {
        let has_content = match &mut self.reader {
            Some(reader) => reader.feed(piece).content,
            None => !piece.is_empty(),
        };
        if has_content && !self.has_content && !self.is_failing {
            self.has_content = true;
            let is_stream = self.reader.as_ref().is_some_and(ResponseReader::reads_events);
            self.picked.first_token(is_stream);
            self.prefill = None;
        }
    }

    /// The response has ended.
    pub(crate) fn ended(self) {
        if !self.is_failing {
            let events = self.reader.as_ref().map_or(0, ResponseReader::events_seen);
            let usage = self.reader.and_then(|reader| reader.usage());
            // Each event of a stream has about one token.
            let output_tokens = usage.map_or(events, |usage| usage.output_tokens);
            let cached = usage.filter(|_| !self.is_prefilled).and_then(|usage| usage.cached_tokens);
            self.picked.finished(cached, output_tokens);
            self.picked.counted(usage.map_or(0, |usage| usage.input_tokens));
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
