//! Cached tokens in a response's usage, changed as it passes: where one engine computed the prompt for another, the first knows how much of it
//! was cached, and to the second all of it was.

use bytes::{Bytes, BytesMut};

/// The member's name, with its quotes. In a text they would be escaped, and a text of just this is followed by no colon.
const NAME: &[u8] = b"\"cached_tokens\"";

/// Puts another number in each member `cached_tokens` of a response of `chat/completions` or `completions`, whole or streamed. Nothing waits.
#[derive(Debug)]
pub struct CachedTokens {
    number: Bytes,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// This much of the name was there.
    Name(usize),
    Colon,
    Value,
    /// In digits that are left out.
    Digits,
}

impl CachedTokens {
    /// Puts this number.
    pub fn new(number: u64) -> Self {
        Self { number: number.to_string().into(), place: Place::Name(0) }
    }

    /// The next piece of the response, changed.
    pub fn feed(&mut self, piece: &Bytes) -> Bytes {
        let mut changed = BytesMut::new();
        let (mut passed, mut at) = (0, 0);
        while at < piece.len() {
            if self.place == Place::Name(0) {
                let Some(found) = memchr::memchr(b'"', &piece[at..]) else { break };
                at += found;
            }
            let byte = piece[at];
            match self.place.next(byte) {
                Place::Digits if self.place == Place::Value => {
                    changed.extend_from_slice(&piece[passed..at]);
                    changed.extend_from_slice(&self.number);
                    self.place = Place::Digits;
                    passed = at + 1;
                }
                Place::Digits => passed = at + 1,
                next => self.place = next,
            }
            at += 1;
        }
        if changed.is_empty() && passed == 0 {
            return piece.clone();
        }
        changed.extend_from_slice(&piece[passed..]);
        changed.freeze()
    }
}

impl Place {
    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Name(length), byte) if NAME[length] == byte && length + 1 == NAME.len() => Self::Colon,
            (Self::Name(length), byte) if NAME[length] == byte => Self::Name(length + 1),
            (Self::Colon, b':') => Self::Value,
            (Self::Colon | Self::Value, b' ' | b'\t' | b'\n' | b'\r') => self,
            (Self::Value | Self::Digits, b'0'..=b'9') => Self::Digits,
            (_, b'"') => Self::Name(1),
            _ => Self::Name(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The response, which comes in pieces of each length.
    fn changed(response: &str) -> String {
        let whole = Bytes::copy_from_slice(response.as_bytes());
        let in_pieces = |length: usize| {
            let mut edit = CachedTokens::new(42);
            let pieces = whole.chunks(length).map(|piece| edit.feed(&Bytes::copy_from_slice(piece)));
            String::from_utf8(pieces.flatten().collect()).unwrap()
        };
        let expected = in_pieces(whole.len());
        for length in 1..whole.len() {
            assert_eq!(in_pieces(length), expected, "{length}");
        }
        expected
    }

    #[test]
    fn the_number_changes_and_nothing_that_looks_like_it() {
        for (response, expected) in [
            (
                r#"{"usage":{"prompt_tokens_details":{"cached_tokens":1234}}}"#,
                r#"{"usage":{"prompt_tokens_details":{"cached_tokens":42}}}"#,
            ),
            (r#"{"cached_tokens" : 7 ,"a":1}"#, r#"{"cached_tokens" : 42 ,"a":1}"#),
            (r#"{"cached_tokens":null,"b":12}"#, r#"{"cached_tokens":null,"b":12}"#),
            (r#"{"content":"cached_tokens","n":5}"#, r#"{"content":"cached_tokens","n":5}"#),
            (r#"{"content":"\"cached_tokens\":5"}"#, r#"{"content":"\"cached_tokens\":5"}"#),
            (r#"{"uncached_tokens":5,"cached_tokens_x":6}"#, r#"{"uncached_tokens":5,"cached_tokens_x":6}"#),
            (
                "data: {\"cached_tokens\":1}\n\ndata: {\"cached_tokens\":2}\n\n",
                "data: {\"cached_tokens\":42}\n\ndata: {\"cached_tokens\":42}\n\n",
            ),
        ] {
            assert_eq!(changed(response), expected, "{response}");
        }
    }
}
