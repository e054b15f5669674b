//! A compressed body.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use compression_codecs::EncodeV2;
use compression_core::util::PartialBuffer;
use http::HeaderMap;
use http_body::{Body as _, Frame};

use super::ResponseBody;
use crate::{backend_body::ResponseBodyError, compression::write};

/// The body of a compressed response. Every piece that comes goes out at once.
pub(crate) struct Compressed {
    inner: ResponseBody,
    encoder: Box<dyn EncodeV2 + Send>,
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl Compressed {
    pub(crate) fn new(inner: ResponseBody, encoder: Box<dyn EncodeV2 + Send>) -> Self {
        Self { inner, encoder, trailers: None, ended: false }
    }

    pub(crate) fn inner(&self) -> &ResponseBody {
        &self.inner
    }

    pub(super) fn inner_mut(&mut self) -> &mut ResponseBody {
        &mut self.inner
    }

    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        loop {
            if self.ended {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            let step = match Pin::new(&mut self.inner).poll_frame(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(error))) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.encode(&data),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        self.finish()
                    }
                },
                Poll::Ready(None) => self.finish(),
            };
            match step {
                Ok(output) if output.is_empty() => {}
                Ok(output) => return Poll::Ready(Some(Ok(Frame::data(output.into())))),
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(ResponseBodyError::Compression(error))));
                }
            }
        }
    }

    fn encode(&mut self, data: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut input = PartialBuffer::new(data);
        let mut output = Vec::new();
        while !input.unwritten().is_empty() {
            write(&mut *self.encoder, &mut output, |encoder, buffer| encoder.encode(&mut input, buffer).map(|()| true))?;
        }
        while !write(&mut *self.encoder, &mut output, |encoder, buffer| encoder.flush(buffer))? {}
        Ok(output)
    }

    fn finish(&mut self) -> std::io::Result<Vec<u8>> {
        self.ended = true;
        let mut output = Vec::new();
        while !write(&mut *self.encoder, &mut output, |encoder, buffer| encoder.finish(buffer))? {}
        Ok(output)
    }
}
