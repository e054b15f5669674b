//! A request's body that is still to come, for whoever reads it, on whatever task.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use super::line::SharedLine;
use crate::server::ClientBodyError;

/// A body that is read from the client's connection.
pub(crate) struct LineBody(SharedLine);

impl LineBody {
    pub(super) fn new(line: SharedLine) -> Self {
        Self(line)
    }

    pub(in crate::server) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        self.0.lock().poll_body(context)
    }

    /// Bytes to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.0.lock().framing.left()
    }

    /// Reads on in a body of known length; how much of it is there. Ready whenever that is more than before.
    pub(crate) fn poll_gather(&mut self, context: &mut Context<'_>) -> Poll<Result<u64, ClientBodyError>> {
        self.0.lock().poll_gather(context)
    }

    /// Shows what was gathered so far.
    pub(crate) fn show(&self, look: impl FnOnce(&[u8])) {
        look(self.0.lock().gathered());
    }

    /// The gathered bytes, in one piece.
    pub(crate) fn take(&mut self) -> Bytes {
        let mut line = self.0.lock();
        let line = &mut *line;
        let frame = line.framing.take(&mut line.wire.read).ok().flatten();
        frame.and_then(|frame| frame.into_data().ok()).unwrap_or_default()
    }
}

impl Drop for LineBody {
    fn drop(&mut self) {
        self.0.lock().abandon();
    }
}
