//! The last chunk of a stream with the tokens used, which OpenAI's chat and text completions send on request (`stream_options`): asked for
//! where a limit counts tokens, and taken out again where the client did not ask.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use crate::{
    document::{Document, Members},
    json,
    response_key::Key,
    scan::{Encoding, Scan, ScanError},
    splice::Edit,
    walk::{Value, Walker},
};

/// The longest event that may be such a chunk, in bytes.
const MAX_CHUNK: usize = 16 << 10;

impl Scan {
    /// The edit that has a stream end with its usage: `None` where the client asks for that itself, and for a body that asks for no stream or
    /// is no JSON. `body` is the one that the scan is of.
    pub fn usage_edit(&self, body: &[u8]) -> Option<Edit> {
        if !self.stream || self.encoding != Encoding::Json {
            return None;
        }
        let insert = |at: usize, with: &'static str| Some(Edit { span: at..at, with: Bytes::from_static(with.as_bytes()) });
        let Some(options) = self.stream_options.clone() else {
            // The object has a member already: `stream`.
            let begin = body.iter().position(|byte| *byte == b'{')?;
            return insert(begin + 1, r#""stream_options":{"include_usage":true},"#);
        };
        let value = body.get(options.clone())?;
        if value == b"null" {
            return Some(Edit { span: options, with: Bytes::from_static(br#"{"include_usage":true}"#) });
        }
        let mut found = Options::default();
        // Another value is the engine's to refuse.
        Document::default().read(value, true, &mut found).ok()?;
        match found.include_usage {
            Some(span) if value[span.clone()] == *b"true" => None,
            Some(span) => {
                let span = options.start + span.start..options.start + span.end;
                Some(Edit { span, with: Bytes::from_static(b"true") })
            }
            None if found.has_members => insert(options.start + 1, r#""include_usage":true,"#),
            None => insert(options.start + 1, r#""include_usage":true"#),
        }
    }
}

/// Members of `stream_options`.
#[derive(Default)]
struct Options {
    include_usage: Option<Range<usize>>,
    has_members: bool,
}

impl Members for Options {
    fn member(&mut self, bytes: &[u8], name: Range<usize>, value: Range<usize>) -> Result<(), ScanError> {
        self.has_members = true;
        if json::text(bytes, &name)? == "include_usage" {
            self.include_usage = Some(value);
        }
        Ok(())
    }
}

/// Takes the usage chunk out of an event stream: an event without choices that has usage. Of an event that is not all there at most 16 KiB
/// wait; a longer one is none.
#[derive(Debug, Default)]
pub struct UsageStrip {
    /// The beginning of an event.
    held: BytesMut,
    /// The event that comes is too long, and goes on.
    passes: bool,
    /// The line that comes has letters.
    in_line: bool,
    /// The last letter was a carriage return, and whether an event ended with it.
    after_return: Option<bool>,
    /// The line feed that follows belongs to what was taken out.
    drops_feed: bool,
}

impl UsageStrip {
    /// The next piece of the response, without the chunk. It may be empty, where all of it has to wait; nothing waits beyond the last.
    pub fn feed(&mut self, piece: &Bytes, is_last: bool) -> Bytes {
        let mut out = Out { piece, passed: 0, changed: None };
        let mut begin = 0;
        for at in 0..piece.len() {
            if self.ends_event(piece[at]) {
                self.event(&mut out, begin..at + 1);
                begin = at + 1;
            }
        }
        let rest = &piece[begin..];
        match self.passes || is_last || self.held.len() + rest.len() > MAX_CHUNK {
            true if is_last && !self.passes && is_usage_chunk(&[&self.held, rest].concat()) => {
                self.held.clear();
                out.leave_out(begin..piece.len());
            }
            true => {
                self.passes = !rest.is_empty() || !self.held.is_empty() || self.passes;
                out.put_before(begin, &mut self.held);
            }
            false if rest.is_empty() => {}
            false => {
                self.held.extend_from_slice(rest);
                out.leave_out(begin..piece.len());
            }
        }
        out.finish()
    }

    /// Gives up what waits at the response's end.
    pub fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }

    /// Takes a letter; whether an event ends with it: the end of an empty line, which is LF, CR, or CR LF. Behind a CR the event has ended, and
    /// an LF is passed on as one of its own: it waits for nothing.
    fn ends_event(&mut self, letter: u8) -> bool {
        let after_return = self.after_return.take();
        match letter {
            b'\n' if after_return.is_some() => after_return == Some(true),
            b'\n' => !std::mem::take(&mut self.in_line),
            b'\r' => {
                let is_empty = !std::mem::take(&mut self.in_line);
                self.after_return = Some(is_empty);
                is_empty
            }
            _ => {
                self.in_line = true;
                false
            }
        }
    }

    /// An event has come to its end.
    fn event(&mut self, out: &mut Out<'_>, span: Range<usize>) {
        if std::mem::take(&mut self.passes) {
            return;
        }
        if std::mem::take(&mut self.drops_feed) && out.piece[span.clone()] == *b"\n" && self.held.is_empty() {
            return out.leave_out(span);
        }
        let is_chunk = match self.held.is_empty() {
            true => is_usage_chunk(&out.piece[span.clone()]),
            false => is_usage_chunk(&[&self.held, &out.piece[span.clone()]].concat()),
        };
        if is_chunk {
            self.held.clear();
            out.leave_out(span);
            self.drops_feed = self.after_return == Some(true);
        } else {
            out.put_before(span.start, &mut self.held);
        }
    }
}

/// A piece on its way out: itself, unless something of it changes.
struct Out<'p> {
    piece: &'p Bytes,
    passed: usize,
    changed: Option<BytesMut>,
}

impl Out<'_> {
    fn leave_out(&mut self, span: Range<usize>) {
        let changed = self.changed.get_or_insert_default();
        changed.extend_from_slice(&self.piece[self.passed..span.start]);
        self.passed = span.end;
    }

    /// Puts in what was held, before the rest of the piece from there.
    fn put_before(&mut self, at: usize, held: &mut BytesMut) {
        if !held.is_empty() {
            self.leave_out(at..at);
            self.changed.get_or_insert_default().extend_from_slice(held);
            held.clear();
        }
    }

    fn finish(self) -> Bytes {
        let Self { piece, passed, changed } = self;
        match changed {
            None => piece.clone(),
            Some(mut changed) => {
                changed.extend_from_slice(&piece[passed..]);
                changed.freeze()
            }
        }
    }
}

/// Whether an event has usage and no choices. Data on several lines is no chunk of any engine.
fn is_usage_chunk(event: &[u8]) -> bool {
    if event.len() > MAX_CHUNK {
        return false;
    }
    // Most events have choices; quotes within texts are escaped.
    let Some(name) = memmem::find(event, b"\"choices\"") else { return false };
    let value = event[name + b"\"choices\"".len()..].trim_ascii_start().strip_prefix(b":").unwrap_or_default().trim_ascii_start();
    if !value.strip_prefix(b"[").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"]")) {
        return false;
    }
    let mut data = event.split(|byte| matches!(byte, b'\n' | b'\r')).filter_map(|line| line.strip_prefix(b"data:"));
    let (Some(data), None) = (data.next(), data.next()) else { return false };
    let (mut has_usage, mut choices, mut walker) = (false, 0, Walker::new());
    walker.feed(data, &mut |path, value| match path {
        [Key::Usage] => has_usage = value == Value::Container,
        [Key::Choices, ..] => choices += 1,
        _ => {}
    });
    // The list itself is one.
    has_usage && choices == 1 && walker.is_done()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{scan::scan, splice::splice};

    const CHUNK: &str = "data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
    const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"choices\\\":[]\"}}],\"usage\":null}\n\n";

    fn asked(body: &str) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let edit = scan(&body).unwrap().usage_edit(&body);
        String::from_utf8(splice(&body, edit.into_iter().collect()).to_bytes().to_vec()).unwrap()
    }

    #[test]
    fn usage_is_asked_for_where_a_stream_does_not() {
        for (body, expected) in [
            (r#" {"stream":true}"#, r#" {"stream_options":{"include_usage":true},"stream":true}"#),
            (r#"{"stream":true,"stream_options":{}}"#, r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
            (r#"{"stream":true,"stream_options": null}"#, r#"{"stream":true,"stream_options": {"include_usage":true}}"#),
            (r#"{"stream_options":{"a":{}},"stream":true}"#, r#"{"stream_options":{"include_usage":true,"a":{}},"stream":true}"#),
            (
                r#"{"stream_options":{"a":1,"include_usage" : false},"stream":true}"#,
                r#"{"stream_options":{"a":1,"include_usage" : true},"stream":true}"#,
            ),
        ] {
            assert_eq!(asked(body), expected);
            assert!(scan(expected.as_bytes()).is_ok());
        }
        for body in [
            r#"{"stream":false}"#,
            r#"{"stream_options":{}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"stream":true,"stream_options":"yes"}"#,
        ] {
            assert_eq!(asked(body), body);
        }
    }

    fn strip(stream: &str, cuts: &[usize]) -> String {
        let (mut strip, mut out, mut from) = (UsageStrip::default(), Vec::new(), 0);
        let bytes = Bytes::copy_from_slice(stream.as_bytes());
        for &to in cuts.iter().chain([&bytes.len()]) {
            out.extend_from_slice(&strip.feed(&bytes.slice(from..to), false));
            from = to;
        }
        out.extend_from_slice(&strip.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_chunk_goes_and_what_looks_like_it_stays() {
        let done = "data: [DONE]\n\n";
        assert_eq!(strip(&[TEXT, CHUNK, done].concat(), &[]), [TEXT, done].concat());
        for end in ["\r\n", "\r"] {
            let ended = |text: &str| text.replace('\n', end);
            assert_eq!(strip(&ended(&[TEXT, CHUNK, done].concat()), &[]), ended(&[TEXT, done].concat()));
            assert_eq!(strip(&ended(CHUNK), &[]), "");
        }
        assert_eq!(strip(&CHUNK.replace(":[]", ": [ ]"), &[]), "");
        for other in [
            "data: {\"choices\":[],\"prompt_filter_results\":[]}\n\n",
            "data: {\"choices\":[],\"usage\":null}\n\n",
            "data: {\"choices\":[{\"text\":\"a\"}],\"usage\":{\"total_tokens\":1}}\n\n",
            "event: x\ndata: {\"usage\":{}}\n\n",
            ": comment\n\n",
        ] {
            assert_eq!(strip(other, &[]), other);
        }
        let long = format!("data: {{\"choices\":[],\"x\":\"{}\",\"usage\":{{}}}}\n\n", "a".repeat(MAX_CHUNK));
        assert_eq!(strip(&[&long, CHUNK].concat(), &[7, MAX_CHUNK + 40]), long);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn cuts_change_nothing(
            events in prop::collection::vec(prop::sample::select(vec![CHUNK, TEXT, ": x\n\n", "data: [DONE]\n\n", "\n", "event: a\n"]), 0..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        ) {
            let stream = events.concat();
            let stream = stream.replace('\n', end);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.sort_unstable();
            // An event that has no end is passed on as it is.
            prop_assert_eq!(strip(&stream, &cuts), strip(&stream, &[]));
        }
    }
}
