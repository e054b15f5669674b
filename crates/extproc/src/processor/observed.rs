//! Bodies that go on at once, of which a server that only watches gets a copy.

use std::{future::poll_fn, pin::Pin, sync::Arc};

use bytes::Bytes;
use http_body::Body;
use pailou_envoy_proto::core::Metadata;

use super::{Session, Sink, message};
use crate::{Direction, chunks::chunks_to_end};

/// A server that watches a body.
pub struct Observer {
    session: Arc<Session>,
    direction: Direction,
    /// Goes with every piece.
    metadata: Option<Metadata>,
}

impl Observer {
    /// The server of a session, for one direction.
    pub fn new(session: Arc<Session>, direction: Direction, metadata: Option<Metadata>) -> Self {
        Self { session, direction, metadata }
    }

    /// Shows bytes of the body; `is_last`: neither more bytes nor trailers follow.
    pub fn show(&self, data: &Bytes, is_last: bool) {
        for (piece, last) in chunks_to_end(data, is_last) {
            self.show_piece(&piece, last);
        }
    }

    fn show_piece(&self, piece: &Bytes, is_last: bool) {
        if self.session.ending().is_none() {
            self.session.show(message::observed_body(self.direction, piece, is_last, self.metadata.as_ref()));
        }
    }

    /// Passes a body on as it comes.
    ///
    /// # Errors
    /// The body breaks off.
    pub async fn watch<B>(self, mut source: B, sink: Sink) -> Result<(), B::Error>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let mut has_ended = false;
        while let Some(frame) = poll_fn(|context| Pin::new(&mut source).poll_frame(context)).await {
            let frame = frame?;
            if let Some(data) = frame.data_ref() {
                has_ended = source.is_end_stream();
                self.show(data, has_ended);
            } else {
                // Trailers end it, of which the server gets none.
                has_ended = true;
            }
            if sink.send(frame).await.is_err() {
                return Ok(());
            }
        }
        if !has_ended {
            self.show_piece(&Bytes::new(), true);
        }
        Ok(())
    }
}
