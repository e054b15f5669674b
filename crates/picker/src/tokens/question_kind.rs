//! Kinds of questions, whose tokens are doubted apart: what a client finds out to be otherwise in one kind costs no other kind its
//! tokens.

use std::borrow::Cow;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Kind of a question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QuestionKind {
    pub(super) is_chat: bool,
    has_tools: bool,
    /// It has members beside the prompt and tools, such as `chat_template_kwargs`.
    has_settings: bool,
    is_converted: bool,
}

impl QuestionKind {
    /// The kind of a question of these pieces: names of members are every second.
    pub(super) fn new(pieces: &[Cow<'_, [u8]>], is_converted: bool) -> Self {
        let mut kind = Self { is_converted, ..Self::default() };
        for piece in pieces.iter().skip(1).step_by(2) {
            let name = piece.split(|byte| *byte == b'"').nth(1).unwrap_or_default();
            match name {
                b"messages" => kind.is_chat = true,
                b"tools" => kind.has_tools = true,
                b"prompt" | b"add_generation_prompt" | b"" => {}
                _ => kind.has_settings = true,
            }
        }
        kind
    }

    /// Key of a model's questions of this kind.
    pub(super) fn key(self, model: u64) -> u64 {
        let members = [self.is_chat, self.has_tools, self.has_settings, self.is_converted].map(u8::from);
        xxh3_64_with_seed(&members, model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_of_other_forms_have_other_keys() {
        let key = |pieces: &[&str], is_converted| {
            let pieces: Vec<Cow<'_, [u8]>> = pieces.iter().map(|piece| Cow::Borrowed(piece.as_bytes())).collect();
            QuestionKind::new(&pieces, is_converted).key(7)
        };
        let chat = ["{\"model\":\"a\"", ",\"messages\":", "[\"tools\"]", ",\"add_generation_prompt\":", "true", "}"];
        let with = |name: &str| {
            let mut pieces = chat.map(str::to_owned).to_vec();
            pieces.splice(3..3, [format!(",\"{name}\":"), "1".to_owned()]);
            key(&pieces.iter().map(String::as_str).collect::<Vec<_>>(), false)
        };
        let completion = key(&["{\"model\":\"a\"", ",\"prompt\":", "\"a\"", "}"], false);
        let all = [key(&chat, false), key(&chat, true), with("tools"), with("chat_template_kwargs"), completion];
        assert_eq!(std::collections::BTreeSet::from(all).len(), all.len());
        assert_eq!(with("chat_template_kwargs"), with("add_special_tokens"));
    }
}
