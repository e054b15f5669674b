//! Parts of a chat's messages.

use std::ops::Range;

use crate::{
    document::{Document, Members},
    json,
    scan::ScanError,
};

/// Types of parts whose tokens are those of their text.
const TEXTS: [&str; 4] = ["text", "input_text", "output_text", "refusal"];

/// Whether all that a chat's messages contain is text, of types that are known as such. The list is JSON.
pub(crate) fn are_texts(messages: &[u8]) -> bool {
    let mut all = containers(messages);
    all.all(|message| {
        let mut members = MessageMembers { is_text: true };
        Document::default().read(&messages[message], true, &mut members).is_ok() && members.is_text
    })
}

/// Objects and lists in a list, in order. The list is JSON.
pub(crate) fn containers(list: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let (mut depth, mut at, mut start) = (0_u32, 0, 0);
    std::iter::from_fn(move || {
        while let Some(byte) = list.get(at) {
            at += 1;
            match byte {
                b'[' | b'{' => {
                    depth += 1;
                    if depth == 2 {
                        start = at - 1;
                    }
                }
                b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    if depth == 1 {
                        return Some(start..at);
                    }
                }
                b'"' => at = end_of_string(list, at),
                _ => {}
            }
        }
        None
    })
}

/// Position behind a string's quote.
fn end_of_string(list: &[u8], mut at: usize) -> usize {
    while let Some(special) = memchr::memchr2(b'"', b'\\', &list[at..]) {
        at += special + 1;
        if list[at - 1] == b'"' {
            break;
        }
        at = (at + 1).min(list.len());
    }
    at
}

/// Members of a message.
struct MessageMembers {
    is_text: bool,
}

impl Members for MessageMembers {
    fn member(&mut self, message: &[u8], name: Range<usize>, value: Range<usize>) -> Result<(), ScanError> {
        if json::text(message, &name)? == "content" {
            let content = &message[value];
            self.is_text &= match content.first() {
                Some(b'[') => containers(content).all(|part| is_text(&content[part])),
                Some(b'"') => true,
                _ => content == b"null",
            };
        }
        Ok(())
    }
}

/// Whether a part is a text.
fn is_text(part: &[u8]) -> bool {
    let mut members = PartMembers { texts: 0, others: 0 };
    Document::default().read(part, true, &mut members).is_ok() && members.texts > 0 && members.others == 0
}

/// Members of a message's part.
struct PartMembers {
    /// Types that are texts.
    texts: u32,
    /// Other types, and names of cached images, which engines put before the type.
    others: u32,
}

impl Members for PartMembers {
    fn member(&mut self, part: &[u8], name: Range<usize>, value: Range<usize>) -> Result<(), ScanError> {
        match &*json::text(part, &name)? {
            "type" => {
                let is_string = part[value.start] == b'"';
                let is_text = is_string && TEXTS.contains(&&*json::text(part, &(value.start + 1..value.end - 1))?);
                *(if is_text { &mut self.texts } else { &mut self.others }) += 1;
            }
            "uuid" if part[value.clone()] != *b"null" => self.others += 1,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_known_and_all_else_is_not() {
        for content in [
            r#""a text of \"image_url\"""#,
            "null",
            "[]",
            r#"["plain", {"type": "text", "text": "[{"}]"#,
            r#"[{"text": "x", "type": "input\u005ftext", "cache_control": {"type": "ephemeral"}}, {"type": "refusal"}]"#,
        ] {
            let messages = format!(r#"[{{"role": "user"}}, {{"role": "user", "content": {content}}}]"#);
            assert!(are_texts(messages.as_bytes()), "{content}");
        }
        for content in [
            r#"[{"type": "image_url", "image_url": {"url": "x"}}]"#,
            r#"[{"type": "text", "text": "x"}, {"type": "image\u005furl"}]"#,
            r#"[{"image_url": "x"}]"#,
            r#"[{"type": "text", "type": "video_url"}]"#,
            r#"[{"type": "text", "uuid": "x", "image_url": null}]"#,
            r#"[{"type": "of next year"}]"#,
            r#"[{"type": 1}]"#,
            r#"[["x"]]"#,
            r#"{"type": "text"}"#,
        ] {
            let messages = format!(r#"[{{"role": "user", "content": {content}}}]"#);
            assert!(!are_texts(messages.as_bytes()), "{content}");
        }
        assert!(!are_texts(br#"[["x"]]"#));
    }
}
