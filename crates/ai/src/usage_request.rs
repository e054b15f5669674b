//! Asking an engine for a stream's usage on behalf of a client that did not.
//!
//! `stream_options.include_usage` makes a chat or completions stream end with one more chunk, which has `usage` and no
//! choices. A client that did not ask must not see it: some take the first choice of every chunk.

use bytes::{Bytes, BytesMut};

use crate::scan::{Encoding, Scan, StreamOptions};
use crate::splice::{Edit, Pieces};
use crate::sse::SseReader;
use crate::walk::{Key, Value, Walker};

/// Bytes of an unfinished event that are held back; a chunk with nothing but usage is far smaller.
const MAX_HELD: usize = 64 << 10;

impl Scan {
    /// The edit that asks for usage. `None` where the body asks already, or is no stream. Only for APIs with
    /// [`usage_on_request`](crate::endpoint::Api::usage_on_request).
    pub fn usage_edit(&self) -> Option<Edit> {
        if !self.stream || self.include_usage || self.encoding == Encoding::Form {
            return None;
        }
        let (span, with) = match &self.stream_options {
            // `stream` is a member too, so there is always another one to come.
            None => (self.first_member..self.first_member, &b"\"stream_options\":{\"include_usage\":true},"[..]),
            Some(StreamOptions::Other(span)) => (span.clone(), &b"{\"include_usage\":true}"[..]),
            Some(StreamOptions::IncludeUsage(span)) => (span.clone(), &b"true"[..]),
            Some(StreamOptions::Object { first_member: at, empty: true }) => (*at..*at, &b"\"include_usage\":true"[..]),
            Some(StreamOptions::Object { first_member: at, empty: false }) => (*at..*at, &b"\"include_usage\":true,"[..]),
        };
        Some(Edit { span, with: Bytes::from_static(with) })
    }
}

/// Whether an event's data is the chunk that has usage and nothing else: no choice, but an object `usage`.
pub fn is_usage_only(data: &[u8]) -> bool {
    let (mut choices, mut choice, mut usage) = (false, false, false);
    Walker::new().feed(data, &mut |path, value| match path {
        [Key::Choices] => choices = value == Value::Container,
        [Key::Choices, ..] => choice = true,
        [Key::Usage] => usage = value == Value::Container,
        _ => {}
    });
    choices && !choice && usage
}

/// Takes the usage-only chunk out of a stream of Server-Sent Events, every other byte as it came.
///
/// Whole events pass at once. The beginning of an event is held back until its end is there, up to 64 KiB.
#[derive(Default)]
pub struct UsageFilter {
    /// The beginning of an event, when a chunk ended within it.
    held: BytesMut,
    /// The event has outgrown what is held, and passes as it comes.
    passing: bool,
    /// The line read last has at least one byte.
    line_filled: bool,
    /// The last byte was a CR: an LF right after belongs to it.
    after_cr: bool,
    /// An event ended with the chunk, on a CR: an LF to come goes the way the event went. Whether that one was taken out.
    torn: Option<bool>,
}

impl UsageFilter {
    /// Reads on, and returns what may pass.
    pub fn feed(&mut self, chunk: Bytes) -> Pieces {
        let mut out = Pieces::default();
        // From `kept` on everything passes, up to the next event taken out; the current event begins at `start`.
        let (mut kept, mut start) = self.torn_line_end(&chunk);
        while let Some(end) = self.event_end(&chunk[start..]).map(|len| start + len) {
            let usage_only = if std::mem::take(&mut self.passing) {
                false
            } else if self.held.is_empty() {
                event_is_usage_only(&chunk[start..end])
            } else {
                self.held.extend_from_slice(&chunk[start..end]);
                (kept, start) = (end, end);
                let event = self.held.split().freeze();
                let usage_only = event_is_usage_only(&event);
                if !usage_only {
                    out.push(event);
                }
                usage_only
            };
            if usage_only {
                out.push(chunk.slice(kept..start));
                kept = end;
            }
            start = end;
            self.torn = (end == chunk.len() && self.after_cr).then_some(usage_only);
        }
        out.push(chunk.slice(kept..start));
        self.hold(chunk.slice(start..), &mut out);
        out
    }

    /// Where what passes, and where the next event, begins in `chunk`: past an LF that belongs to the event before.
    fn torn_line_end(&mut self, chunk: &[u8]) -> (usize, usize) {
        let (Some(taken_out), Some(first)) = (self.torn, chunk.first()) else {
            return (0, 0);
        };
        self.torn = None;
        if *first != b'\n' {
            return (0, 0);
        }
        self.after_cr = false;
        (usize::from(taken_out), 1)
    }

    /// What is held back at the stream's end: the beginning of an event that never ended.
    pub fn finish(&mut self) -> Bytes {
        self.held.split().freeze()
    }

    fn hold(&mut self, tail: Bytes, out: &mut Pieces) {
        if self.passing || self.held.len() + tail.len() > MAX_HELD {
            self.passing = true;
            out.push(self.held.split().freeze());
            out.push(tail);
        } else {
            self.held.extend_from_slice(&tail);
        }
    }

    /// The length of `bytes` up to the end of the event they are in: past its blank line.
    fn event_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut pos = 0;
        while pos < bytes.len() {
            let end = memchr::memchr2(b'\n', b'\r', &bytes[pos..]).map(|len| pos + len);
            let Some(end) = end else {
                self.after_cr = false;
                self.line_filled = true;
                return None;
            };
            let filled = end > pos || self.line_filled;
            let second_half = end == pos && self.after_cr && bytes[end] == b'\n';
            self.after_cr = bytes[end] == b'\r';
            pos = end + 1;
            if second_half {
                continue;
            }
            self.line_filled = false;
            if !filled {
                // A CRLF is not torn apart where it can be helped.
                if self.after_cr && bytes.get(pos) == Some(&b'\n') {
                    self.after_cr = false;
                    pos += 1;
                }
                return Some(pos);
            }
        }
        None
    }
}

fn event_is_usage_only(event: &[u8]) -> bool {
    if memchr::memmem::find(event, b"usage").is_none() {
        return false;
    }
    let mut usage_only = false;
    SseReader::default().feed(event, |event| usage_only = is_usage_only(event.data));
    usage_only
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{scan, splice};

    #[test]
    fn usage_is_asked_for_wherever_the_body_leaves_room() {
        let cases = [
            (r#"{ "stream":true}"#, r#"{"stream_options":{"include_usage":true}, "stream":true}"#),
            (r#"{"stream":true,"stream_options":null}"#, r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
            (r#"{"stream_options":{},"stream":true}"#, r#"{"stream_options":{"include_usage":true},"stream":true}"#),
            (r#"{"stream_options":{ "a":{}},"stream":true}"#, r#"{"stream_options":{"include_usage":true, "a":{}},"stream":true}"#),
            (
                r#"{"stream_options":{"include_usage": false},"stream":true}"#,
                r#"{"stream_options":{"include_usage": true},"stream":true}"#,
            ),
        ];
        for (body, expected) in cases {
            let found = scan(body.as_bytes()).unwrap();
            let spliced = splice(&Bytes::from(body), found.usage_edit().into_iter().collect()).to_bytes();
            assert_eq!(spliced, expected.as_bytes());
            assert!(scan(&spliced).unwrap().include_usage);
        }
        for body in [r#"{}"#, r#"{"stream":false}"#, r#"{"stream":true,"stream_options":{"include_usage":true}}"#] {
            assert_eq!(scan(body.as_bytes()).unwrap().usage_edit(), None);
        }
    }

    #[test]
    fn only_a_chunk_without_choices_and_with_usage_is_usage_only() {
        assert!(is_usage_only(br#"{"choices":[],"usage":{"prompt_tokens":1}}"#));
        assert!(!is_usage_only(br#"{"choices":[],"usage":null}"#));
        assert!(!is_usage_only(br#"{"choices":[],"prompt_filter_results":[{}]}"#));
        assert!(!is_usage_only(br#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}"#));
        assert!(!is_usage_only(br#"{"usage":{"prompt_tokens":1}}"#));
        assert!(!is_usage_only(b"[DONE]"));
    }

    fn filtered(stream: &str, cuts: &[usize]) -> String {
        let (stream, mut filter, mut out, mut from) = (Bytes::from(stream.to_owned()), UsageFilter::default(), Vec::new(), 0);
        for &to in cuts.iter().chain([&stream.len()]) {
            let pieces = filter.feed(stream.slice(from..to));
            assert!(filter.held.len() <= MAX_HELD);
            out.extend(pieces.to_bytes());
            from = to;
        }
        out.extend(filter.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_event_too_large_to_hold_passes_as_it_comes() {
        let mut filter = UsageFilter::default();
        let big = Bytes::from(vec![b'x'; MAX_HELD]);
        assert!(filter.feed(big.clone()).is_empty());
        assert_eq!(filter.feed(big.clone()).len(), 2 * MAX_HELD);
        assert_eq!(filter.feed(big).len(), MAX_HELD);
        assert_eq!(filter.feed(Bytes::from("\n\ndata: {\"choices\":[],\"usage\":{}}\n\nx\n\n")).to_bytes(), "\n\nx\n\n");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn only_the_usage_chunk_goes_wherever_the_stream_is_cut(
            before in prop::collection::vec(0..4usize, 0..6),
            after in prop::collection::vec(0..4usize, 0..6),
            line_end in prop::sample::select(&["\n", "\r", "\r\n"][..]),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let events = ["data: {\"choices\":[{}],\"usage\":null}\n\n", ": ping\n\n", "data: [DONE]\n\n", "event: x\ndata: y\n\n"];
            let text = |picks: &[usize]| picks.iter().map(|&pick| events[pick]).collect::<String>().replace('\n', line_end);
            let usage = "data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}\n\n".replace('\n', line_end);
            let stream = format!("{}{usage}{}", text(&before), text(&after));
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(filtered(&stream, &cuts), format!("{}{}", text(&before), text(&after)));
        }
    }
}
