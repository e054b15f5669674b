//! A body that went to a picker, against what comes back of it.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use pailou_envoy_proto::ext_proc::{BodyMutation, body_mutation::Mutation};

/// Keeps what was sent until it has come back, so that nothing is lost with a picker that goes away.
#[derive(Debug)]
pub(super) struct Echo {
    /// Sent, and not come back. The last piece may be empty: the end alone.
    pending: VecDeque<Bytes>,
    bytes: usize,
    /// All that came back is what was sent.
    verbatim: bool,
    /// It comes back as a stream of its own.
    streamed: bool,
    /// The last of that stream has come.
    complete: bool,
}

impl Echo {
    pub(super) fn new() -> Self {
        Self { pending: VecDeque::new(), bytes: 0, verbatim: true, streamed: false, complete: false }
    }

    /// A piece was sent.
    pub(super) fn sent(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pending.push_back(piece);
    }

    /// Bytes sent that have not come back.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether all that came back so far is what was sent.
    pub(super) fn is_verbatim(&self) -> bool {
        self.verbatim
    }

    /// Whether the picker has ended the body.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether nothing more comes back of what was sent, if that was all.
    pub(super) fn is_settled(&self) -> bool {
        self.complete || (!self.streamed && self.pending.is_empty())
    }

    /// Takes a mutation that came back, and returns its piece of the body; empty if the mutation deletes the piece.
    pub(super) fn back(&mut self, mutation: Option<BodyMutation>) -> Bytes {
        match mutation.and_then(|mutation| mutation.mutation) {
            None | Some(Mutation::ClearBody(false)) => self.pop(),
            Some(Mutation::ClearBody(true)) => {
                self.verbatim &= self.pop().is_empty();
                Bytes::new()
            }
            Some(Mutation::Body(body)) => {
                self.verbatim &= self.pop() == body;
                body
            }
            Some(Mutation::StreamedResponse(piece)) => {
                self.streamed = true;
                self.take(&piece.body);
                if piece.end_of_stream {
                    self.complete = true;
                    self.verbatim &= self.bytes == 0;
                    self.forget();
                }
                piece.body
            }
        }
    }

    /// The body is replaced as a whole.
    pub(super) fn replaced(&mut self) {
        (self.verbatim, self.complete) = (false, true);
        self.forget();
    }

    /// The picker has gone on to the trailers: a stream that it changed has ended.
    pub(super) fn trailers(&mut self) {
        if self.streamed && !self.verbatim {
            self.complete = true;
            self.forget();
        }
    }

    /// The pieces that have not come back, as they were sent: the rest of the body when a picker goes away. `None` if the
    /// picker changed something, so that the rest is unknown.
    pub(super) fn rest(&mut self) -> Option<VecDeque<Bytes>> {
        let known = self.verbatim || self.complete || !self.streamed;
        known.then(|| {
            self.bytes = 0;
            std::mem::take(&mut self.pending)
        })
    }

    fn pop(&mut self) -> Bytes {
        let piece = self.pending.pop_front().unwrap_or_default();
        self.bytes -= piece.len();
        piece
    }

    fn forget(&mut self) {
        self.pending.clear();
        self.bytes = 0;
    }

    /// Takes as many bytes as came back from what was sent.
    fn take(&mut self, mut back: &[u8]) {
        while !back.is_empty() {
            let Some(piece) = self.pending.front_mut() else {
                self.verbatim = false;
                return;
            };
            let length = piece.len().min(back.len());
            self.verbatim &= piece[..length] == back[..length];
            piece.advance(length);
            self.bytes -= length;
            back.advance(length);
            if piece.is_empty() {
                self.pending.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pailou_envoy_proto::ext_proc::StreamedBodyResponse;

    fn sent(pieces: &[&'static str]) -> Echo {
        let mut echo = Echo::new();
        pieces.iter().for_each(|piece| echo.sent(Bytes::from_static(piece.as_bytes())));
        echo
    }

    fn streamed(body: &'static str, end_of_stream: bool) -> Option<BodyMutation> {
        let piece = StreamedBodyResponse { body: Bytes::from_static(body.as_bytes()), end_of_stream };
        Some(BodyMutation { mutation: Some(Mutation::StreamedResponse(piece)) })
    }

    #[test]
    fn pieces_answered_without_a_word_are_unchanged() {
        let mut echo = sent(&["one", "two", ""]);
        assert_eq!((echo.back(None), echo.back(None)), (Bytes::from("one"), Bytes::from("two")));
        assert!(!echo.is_settled());
        assert!(echo.back(None).is_empty());
        assert!(echo.is_settled() && echo.is_verbatim());
    }

    #[test]
    fn stream_that_comes_back_in_other_pieces_is_unchanged() {
        let mut echo = sent(&["one", "two"]);
        echo.back(streamed("onet", false));
        assert_eq!(echo.rest(), Some(VecDeque::from([Bytes::from("wo")])), "what a lost picker leaves");
        let mut echo = sent(&["one", "two"]);
        echo.back(streamed("onet", false));
        assert!(!echo.is_settled());
        echo.back(streamed("wo", true));
        assert!(echo.is_settled() && echo.is_verbatim());
    }

    #[test]
    fn changed_stream_leaves_nothing_to_go_on_with() {
        for back in ["oNe", "onetwothree"] {
            let mut echo = sent(&["one", "two"]);
            echo.back(streamed(back, false));
            assert!(!echo.is_verbatim());
            assert!(echo.rest().is_none());
        }
        let mut echo = sent(&["one", "two"]);
        echo.back(streamed("one", true));
        assert!(echo.is_settled() && !echo.is_verbatim(), "cut short is changed");
    }
}
