//! A request on its way out (RFC 9112, 2 to 7).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, header};
use http_body::Body as _;
use pailou_http1::{End, Writer, field, room_for, trailers_announced};

use super::{Http1Error, Wire};
use crate::{request_body::RequestBody, upstream::RequestHead};

/// A request that is being sent.
pub(super) struct Sending {
    body: RequestBody,
    writer: Writer,
}

impl Sending {
    pub(super) fn new(head: &RequestHead<'_>, body: RequestBody) -> Self {
        let headers = head.headers;
        let line = head.method.as_str().len() + head.target.as_str().len() + head.host.len();
        let mut out = room_for(line, headers, body.size_hint().exact());
        for part in [head.method.as_str(), " ", head.target.as_str(), " HTTP/1.1\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        field(&mut out, "host", head.host.as_bytes());
        for (name, value) in headers {
            // The fields that frame the message follow below, once.
            if *name == header::CONTENT_LENGTH || *name == header::TRANSFER_ENCODING {
                continue;
            }
            field(&mut out, name.as_str(), value.as_bytes());
        }
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let end = match announced.or_else(|| body.size_hint().exact()) {
            Some(length) => {
                if announced.is_some() || !body.is_end_stream() {
                    field(&mut out, "content-length", itoa::Buffer::new().format(length).as_bytes());
                }
                End::Length(length)
            }
            None => {
                field(&mut out, "transfer-encoding", b"chunked");
                End::Chunked(trailers_announced(headers))
            }
        };
        out.extend_from_slice(b"\r\n");
        Self { body, writer: Writer::new(out, end) }
    }

    /// Whether the rest has yet to come from the client.
    pub(super) fn streams(&self) -> bool {
        !self.body.is_held()
    }

    /// Sends on; ready when all is sent.
    pub(super) fn poll(&mut self, wire: &mut Wire, context: &mut Context<'_>) -> Poll<Result<(), Http1Error>> {
        loop {
            self.gather(context)?;
            if self.writer.is_empty() {
                ready!(wire.poll_flush(context))?;
                return if self.writer.has_ended() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let (slices, used) = self.writer.slices();
            let written = ready!(wire.poll_write(context, &slices[..used]))?;
            self.writer.written(written);
        }
    }

    /// Takes of the body what is there, as much as makes one write.
    fn gather(&mut self, context: &mut Context<'_>) -> Result<(), Http1Error> {
        while self.writer.has_room() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => self.writer.push(frame)?,
                Poll::Ready(Some(Err(error))) => return Err(Http1Error::RequestBody(Box::new(error))),
                Poll::Ready(None) => self.writer.end(&HeaderMap::new())?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}
