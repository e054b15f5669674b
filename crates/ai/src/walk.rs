//! A lenient reader of JSON that arrives in chunks, for the few members a gateway reads in responses.
//!
//! It keeps a path of known names and one short value, whatever the body's size: containers under a name it does not
//! know are passed over without looking inside. It validates nothing; what is not JSON simply yields nothing more.

use crate::{json, response_key::Key};

/// Containers the walk enters; deeper ones are passed over.
const MAX_PATH: usize = 8;
/// The longest text that is kept, in bytes.
const MAX_TEXT: usize = 256;

/// A value met on the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// An object or array opens.
    Container,
    /// A string without a character.
    Empty,
    /// Any other string. The text is empty where the name does not ask for it or it is over 256 bytes.
    Text(&'a str),
    /// A whole number.
    Uint(u64),
    /// `null`, `true`, `false`, or any other number.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a value, or the end of an array.
    Value,
    /// Before a name, or the end of an object.
    Name,
    Colon,
    /// After a value.
    Next,
    /// In a string, right after a backslash if `escaped`.
    Text {
        name: bool,
        escaped: bool,
    },
    /// In a number or a word.
    Atom,
    /// In a container passed over, with `depth` open.
    Skip {
        depth: u64,
        text: bool,
        escaped: bool,
    },
    /// Past the end of the outermost value.
    Done,
    /// This is not JSON.
    Broken,
}

/// The state of a walk over one document.
pub(crate) struct Walker {
    state: State,
    /// For each open container the name of the member, or [`Key::Item`], that is being read.
    path: [Key; MAX_PATH],
    objects: [bool; MAX_PATH],
    depth: usize,
    /// The name, wanted text, number or word being read, as it stands.
    token: Vec<u8>,
    /// The token is longer than what is kept.
    cut: bool,
    /// The string being read has at least one character.
    filled: bool,
}

impl Walker {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Value,
            path: [Key::Other; MAX_PATH],
            objects: [false; MAX_PATH],
            depth: 0,
            token: Vec::new(),
            cut: false,
            filled: false,
        }
    }

    /// Begins before the value that these names lead to, at most [`MAX_PATH`] of them.
    pub(crate) fn in_members(names: &[Key]) -> Self {
        let mut walker = Self::new();
        for &name in names.iter().take(MAX_PATH) {
            (walker.path[walker.depth], walker.objects[walker.depth]) = (name, name != Key::Item);
            walker.depth += 1;
        }
        walker
    }

    /// Whether a name of the outermost object comes next.
    pub(crate) fn is_before_outermost_name(&self) -> bool {
        self.state == State::Name && self.depth == 1
    }

    /// Starts on another document.
    pub(crate) fn reset(&mut self) {
        self.state = State::Value;
        self.depth = 0;
    }

    /// Whether the outermost container has been closed.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the walk is within a text, or right before its end, of which nothing but that it has a character is ever told.
    pub(crate) fn is_in_unread_text(&self) -> bool {
        match self.state {
            State::Text { name: false, escaped: false } => !self.keeps_text(),
            State::Skip { text, escaped, .. } => text && !escaped,
            _ => false,
        }
    }

    /// Reads on, and tells `sink` of each value with the path of names that leads to it.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], sink: &mut impl FnMut(&[Key], Value<'_>)) {
        while let Some(&first) = bytes.first() {
            let used = match self.state {
                State::Done | State::Broken => return,
                State::Text { name, escaped } => self.text(bytes, name, escaped, sink),
                State::Atom => self.atom(bytes, sink),
                State::Skip { depth, text, escaped } => self.skip(bytes, depth, text, escaped),
                State::Value | State::Name if first == b'"' => self.whole_text(bytes, sink),
                State::Value if self.depth > 0 && begins_atom(first) => self.whole_atom(bytes, sink),
                State::Value | State::Name | State::Colon | State::Next => {
                    self.structure(first, sink);
                    1
                }
            };
            bytes = &bytes[used..];
        }
    }

    fn structure(&mut self, byte: u8, sink: &mut impl FnMut(&[Key], Value<'_>)) {
        match (self.state, byte) {
            (_, b' ' | b'\n' | b'\r' | b'\t') => {}
            (State::Value, b'{') => self.open(true, sink),
            (State::Value, b'[') => self.open(false, sink),
            (State::Colon, b':') => self.state = State::Value,
            (State::Next, b',') => {
                self.state = if self.objects[self.depth - 1] { State::Name } else { State::Value };
            }
            (State::Value | State::Next, b']') | (State::Name | State::Next, b'}') if self.depth > 0 => {
                self.depth -= 1;
                self.after_value();
            }
            _ => self.state = State::Broken,
        }
    }

    fn open(&mut self, object: bool, sink: &mut impl FnMut(&[Key], Value<'_>)) {
        let path = &self.path[..self.depth];
        sink(path, Value::Container);
        if self.depth == MAX_PATH || path.last() == Some(&Key::Other) {
            self.state = State::Skip { depth: 1, text: false, escaped: false };
            return;
        }
        self.objects[self.depth] = object;
        self.path[self.depth] = if object { Key::Other } else { Key::Item };
        self.depth += 1;
        self.state = if object { State::Name } else { State::Value };
    }

    fn begin(&mut self, state: State) {
        self.token.clear();
        self.cut = false;
        self.filled = false;
        self.state = state;
    }

    fn after_value(&mut self) {
        self.state = if self.depth == 0 { State::Done } else { State::Next };
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.token.len() + bytes.len() > MAX_TEXT {
            self.cut = true;
        } else {
            self.token.extend_from_slice(bytes);
        }
    }

    /// Reads a string from its quote on. One that lies in the chunk whole, without an escape, is not copied; any other is only begun.
    fn whole_text(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[Key], Value<'_>)) -> usize {
        let name = self.state == State::Name;
        let inside = &bytes[1..];
        match end_or_escape(inside) {
            Some(end) if inside[end] == b'"' => {
                self.filled = end > 0;
                let wanted = end <= MAX_TEXT && (name || self.keeps_text());
                self.report(name, if wanted { &inside[..end] } else { b"" }, sink);
                end + 2
            }
            _ => {
                self.begin(State::Text { name, escaped: false });
                1
            }
        }
    }

    fn keeps_text(&self) -> bool {
        self.path[..self.depth].last().is_some_and(|key| key.keeps_text())
    }

    /// Reads on in a string; returns how many bytes were used.
    fn text(&mut self, bytes: &[u8], name: bool, escaped: bool, sink: &mut impl FnMut(&[Key], Value<'_>)) -> usize {
        let kept = name || self.keeps_text();
        let plain = if escaped { 1 } else { memchr::memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len()) };
        self.filled |= plain > 0;
        if kept {
            self.keep(&bytes[..plain]);
        }
        self.state = State::Text { name, escaped: false };
        match bytes.get(plain) {
            // The walk reads the byte after an escaped one afresh.
            _ if escaped => return plain,
            None => return plain,
            Some(b'\\') => {
                if kept {
                    self.keep(b"\\");
                }
                self.state = State::Text { name, escaped: true };
            }
            Some(_) => self.end_text(name, sink),
        }
        plain + 1
    }

    fn end_text(&mut self, name: bool, sink: &mut impl FnMut(&[Key], Value<'_>)) {
        let token = std::mem::take(&mut self.token);
        let raw = if self.cut { "" } else { std::str::from_utf8(&token).unwrap_or("") };
        self.report(name, json::unescape(raw).unwrap_or_default().as_bytes(), sink);
        self.token = token;
    }

    /// Takes a name, or tells of a text, that has been read.
    fn report(&mut self, name: bool, text: &[u8], sink: &mut impl FnMut(&[Key], Value<'_>)) {
        if name {
            if let Some(key) = self.depth.checked_sub(1).map(|last| &mut self.path[last]) {
                *key = Key::named(text);
            }
            self.state = State::Colon;
            return;
        }
        let value = if self.filled { Value::Text(std::str::from_utf8(text).unwrap_or("")) } else { Value::Empty };
        sink(&self.path[..self.depth], value);
        self.after_value();
    }

    /// Reads a number or a word. One that ends in the chunk is not copied; any other is only begun.
    fn whole_atom(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[Key], Value<'_>)) -> usize {
        match bytes.iter().position(|byte| !is_of_atom(byte)) {
            Some(end) => {
                self.told_atom(if end <= MAX_TEXT { &bytes[..end] } else { b"" }, sink);
                end
            }
            None => {
                self.begin(State::Atom);
                self.keep(bytes);
                bytes.len()
            }
        }
    }

    /// Reads on in a number or a word.
    fn atom(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[Key], Value<'_>)) -> usize {
        let len = bytes.iter().position(|byte| !is_of_atom(byte)).unwrap_or(bytes.len());
        self.keep(&bytes[..len]);
        if len < bytes.len() {
            let token = std::mem::take(&mut self.token);
            self.told_atom(if self.cut { b"" } else { &token }, sink);
            self.token = token;
        }
        len
    }

    fn told_atom(&mut self, atom: &[u8], sink: &mut impl FnMut(&[Key], Value<'_>)) {
        let number = std::str::from_utf8(atom).ok().and_then(|number| number.parse().ok());
        sink(&self.path[..self.depth], number.map_or(Value::Other, Value::Uint));
        self.after_value();
    }

    /// Reads on in a container that is passed over.
    fn skip(&mut self, bytes: &[u8], depth: u64, text: bool, escaped: bool) -> usize {
        let go_on = |depth, text, escaped| State::Skip { depth, text, escaped };
        if escaped {
            self.state = go_on(depth, text, false);
            return 1;
        }
        let found = if text { memchr::memchr2(b'"', b'\\', bytes) } else { structural(bytes) };
        let Some(at) = found else {
            return bytes.len();
        };
        self.state = match bytes[at] {
            b'"' => go_on(depth, !text, false),
            b'\\' => go_on(depth, text, true),
            b'{' | b'[' => go_on(depth + 1, text, false),
            _ if depth > 1 => go_on(depth - 1, text, false),
            _ => State::Next,
        };
        at + 1
    }
}

/// The quote that ends a string, or the first escape in it. Most strings are names and too short for a vector search to pay.
fn end_or_escape(bytes: &[u8]) -> Option<usize> {
    let (near, far) = bytes.split_at(bytes.len().min(16));
    let found = near.iter().position(|&byte| byte == b'"' || byte == b'\\');
    found.or_else(|| memchr::memchr2(b'"', b'\\', far).map(|at| near.len() + at))
}

fn begins_atom(byte: u8) -> bool {
    matches!(byte, b'-' | b'0'..=b'9' | b'a'..=b'z')
}

fn is_of_atom(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-')
}

/// The first quote, brace or bracket.
fn structural(bytes: &[u8]) -> Option<usize> {
    let is_one = |byte: u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
    // An embedding is one long run of numbers: whole blocks of it are passed over by vector compares.
    let blocks = bytes.chunks_exact(32).take_while(|block| !block.iter().fold(false, |hit, &byte| hit | is_one(byte)));
    let from = blocks.count() * 32;
    bytes[from..].iter().position(|&byte| is_one(byte)).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All that a walk tells of, over a body cut at `cuts`.
    fn walk(body: &[u8], cuts: &[usize]) -> (Vec<String>, bool) {
        let (mut seen, mut walker, mut from) = (Vec::new(), Walker::new(), 0);
        for &to in cuts.iter().chain([&body.len()]) {
            walker.feed(&body[from..to], &mut |path, value| seen.push(format!("{path:?} {value:?}")));
            from = to;
        }
        (seen, walker.is_done())
    }

    #[test]
    fn known_members_are_met_and_the_rest_is_passed_over() {
        let body = br#" {"data":[{"usage":{"prompt_tokens":9},"x":"]\"}"}],"m\u006fdel":"a\/b","usage":{"prompt_tokens":7}} "#;
        let (seen, done) = walk(body, &[]);
        assert!(done);
        assert_eq!(
            seen,
            ["[] Container", "[Other] Container", "[Model] Text(\"a/b\")", "[Usage] Container", "[Usage, PromptTokens] Uint(7)"]
        );
    }

    #[test]
    fn what_is_not_json_ends_the_walk() {
        for body in ["[DONE]", "hello", "}", "]", "", "{]", "\u{1f}"] {
            assert!(!walk(body.as_bytes(), &[]).1, "{body}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn cuts_change_nothing(
            body in r#"([\[\]{}",:\\ 0-9]|"usage"|"model":|"choices":\[|\{"error":|null|é){0,40}"#,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(walk(body.as_bytes(), &cuts), walk(body.as_bytes(), &[]));
        }
    }
}
