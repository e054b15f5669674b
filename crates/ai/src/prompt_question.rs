//! The prompt of a request as its engine's tokenizer is to read it: the body of vLLM's `POST /tokenize`.

mod other_forms;

use std::{borrow::Cow, ops::Range};

use self::other_forms::Chat;
use crate::{
    Api,
    document::{Document, Members},
    json, message_parts,
    scan::ScanError,
};

/// Members of a chat's body that its template depends on, and the tokenizer takes too.
const OF_CHAT: [&str; 7] = [
    "messages",
    "tools",
    "continue_final_message",
    "add_special_tokens",
    "chat_template",
    "chat_template_kwargs",
    "mm_processor_kwargs",
];
/// The same of a completion's.
const OF_COMPLETION: [&str; 2] = ["prompt", "add_special_tokens"];
/// The same of tokens.
const OF_TOKENS: [&str; 1] = ["token_ids"];
/// Members that change a prompt, and that the tokenizer does not know.
const FOREIGN: [&str; 6] = ["documents", "reasoning_effort", "truncate_prompt_tokens", "suffix", "prompt_embeds", "features"];
/// Most tokens of a prompt that is given as such.
const MAX_TOKENS: usize = 1 << 21;

/// Tokens of a prompt, or the question for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PromptQuestion<'a> {
    /// Body of `POST /tokenize`, in pieces.
    Ask {
        /// The pieces. The third is the prompt: a text, or a chat's messages.
        body: Vec<Cow<'a, [u8]>>,
        /// Places in the prompt where each of a chat's messages ends.
        message_ends: Vec<usize>,
        /// The request is of another form, and the chat is what the engine is expected to make of it.
        is_converted: bool,
    },
    /// The request itself gives its prompt in tokens.
    Given(Vec<u32>),
}

impl<'a> PromptQuestion<'a> {
    /// The prompt of a body that was scanned, for a model of this name: of the Responses API and Anthropic Messages as a chat. `None`: the
    /// tokenizer would not give the prompt's tokens, because it is another API, there are several prompts, or there are images, sounds, documents or settings in it that the tokenizer does not know.
    pub fn new(api: Api, body: &'a [u8], model: &str) -> Option<Self> {
        if matches!(api, Api::Responses | Api::Messages) {
            return Self::converted(Chat::new(api, body)?, model);
        }
        let mut members = PromptMembers { body, wanted: wanted(api)?, found: Vec::new(), opens_answer: None, is_foreign: false };
        Document::default().read(body, true, &mut members).ok()?;
        if members.is_foreign {
            return None;
        }
        let prompt = body.get(members.found.iter().rfind(|(name, _)| *name == members.wanted[0])?.1.clone())?;
        match (api, prompt.first()?) {
            (Api::ChatCompletions, b'[') if message_parts::are_texts(prompt) => {}
            (Api::Completions, b'"') => {}
            (Api::Completions | Api::Generate, b'[') => return given(prompt).map(Self::Given),
            _ => return None,
        }
        let message_ends = if api == Api::ChatCompletions {
            message_parts::containers(prompt).map(|message| message.end).collect()
        } else {
            Vec::new()
        };
        Some(Self::Ask { body: members.question(api, model), message_ends, is_converted: false })
    }

    fn converted(chat: Chat, model: &str) -> Option<Self> {
        let mut start = b"{\"model\":".to_vec();
        json::push_string(&mut start, model);
        let [messages, end] = [&b",\"messages\":"[..], b",\"add_generation_prompt\":true}"].map(Cow::Borrowed);
        let mut body = vec![Cow::Owned(start), messages, Cow::Owned(chat.messages)];
        if let Some(tools) = chat.tools {
            body.extend([Cow::Borrowed(&b",\"tools\":"[..]), Cow::Owned(tools)]);
        }
        body.push(end);
        Some(Self::Ask { body, message_ends: chat.ends, is_converted: true })
    }
}

fn wanted(api: Api) -> Option<&'static [&'static str]> {
    match api {
        Api::ChatCompletions => Some(&OF_CHAT),
        Api::Completions => Some(&OF_COMPLETION),
        Api::Generate => Some(&OF_TOKENS),
        _ => None,
    }
}

/// Members found so far.
struct PromptMembers<'a> {
    body: &'a [u8],
    /// Names of those that are passed on, the prompt's first.
    wanted: &'static [&'static str],
    found: Vec<(&'static str, Range<usize>)>,
    /// The value of `add_generation_prompt`.
    opens_answer: Option<Range<usize>>,
    is_foreign: bool,
}

impl Members for PromptMembers<'_> {
    fn member(&mut self, body: &[u8], name: Range<usize>, value: Range<usize>) -> Result<(), ScanError> {
        let name = json::text(body, &name)?;
        if body[value.clone()] == *b"null" {
            return Ok(());
        }
        if FOREIGN.contains(&&*name) {
            self.is_foreign = true;
        } else if name == "add_generation_prompt" {
            self.opens_answer = Some(value);
        } else if let Some(name) = self.wanted.iter().find(|wanted| **wanted == name) {
            self.found.push((name, value));
        }
        Ok(())
    }
}

impl<'a> PromptMembers<'a> {
    fn question(self, api: Api, model: &str) -> Vec<Cow<'a, [u8]>> {
        let mut start = Vec::with_capacity(64);
        start.extend_from_slice(b"{\"model\":");
        json::push_string(&mut start, model);
        let mut pieces: Vec<Cow<'a, [u8]>> = vec![Cow::Owned(start)];
        let mut push = |name: &str, value: &'a [u8]| {
            pieces.push(Cow::Owned(format!(",\"{name}\":").into_bytes()));
            pieces.push(Cow::Borrowed(value));
        };
        let (prompts, others): (Vec<_>, Vec<_>) = self.found.into_iter().partition(|(name, _)| *name == self.wanted[0]);
        for (name, value) in prompts.into_iter().next_back().into_iter().chain(others) {
            push(name, &self.body[value]);
        }
        if api == Api::ChatCompletions {
            push("add_generation_prompt", self.opens_answer.map_or(b"true", |value| &self.body[value]));
        }
        pieces.push(Cow::Borrowed(b"}"));
        pieces
    }
}

/// Tokens of a list of numbers.
fn given(list: &[u8]) -> Option<Vec<u32>> {
    let inner = list.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let mut tokens = Vec::new();
    for token in inner.split(|byte| *byte == b',') {
        if tokens.len() == MAX_TOKENS {
            return None;
        }
        tokens.push(std::str::from_utf8(token).ok()?.trim().parse().ok()?);
    }
    Some(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(api: Api, body: &str) -> Option<serde_json::Value> {
        match PromptQuestion::new(api, body.as_bytes(), "tuned \"1\"")? {
            PromptQuestion::Ask { body, .. } => Some(serde_json::from_slice(&body.concat()).expect("JSON")),
            PromptQuestion::Given(tokens) => Some(tokens.into()),
        }
    }

    fn json(text: &str) -> Option<serde_json::Value> {
        Some(serde_json::from_str(text).expect("JSON"))
    }

    #[test]
    fn a_chat_is_asked_for_with_all_that_its_template_depends_on() {
        let body = r#"{"model": "a", "stream": true, "tools": [{"x": 1}], "messages": [{"role": "user", "content": "\"image_url\""}],
            "chat_template_kwargs": {"enable_thinking": false}, "chat_template": null, "temperature": 0}"#;
        let expected = r#"{"model": "tuned \"1\"", "tools": [{"x": 1}], "messages": [{"role": "user", "content": "\"image_url\""}],
            "chat_template_kwargs": {"enable_thinking": false}, "add_generation_prompt": true}"#;
        assert_eq!(question(Api::ChatCompletions, body), json(expected));
        let continued = r#"{"messages": [], "add_generation_prompt": false, "continue_final_message": true}"#;
        let expected =
            r#"{"model": "tuned \"1\"", "messages": [], "continue_final_message": true, "add_generation_prompt": false}"#;
        assert_eq!(question(Api::ChatCompletions, continued), json(expected));
    }

    #[test]
    fn messages_end_where_they_end() {
        let first = r#"{"role": "user", "content": [{"type": "text", "text": "a \\\" ]}"}]}"#;
        let body = format!(r#"{{"tools": [], "messages": [{first}, {{"role": "assistant"}}]}}"#);
        let question = PromptQuestion::new(Api::ChatCompletions, body.as_bytes(), "qwen").expect("a chat");
        let PromptQuestion::Ask { body, message_ends, is_converted: false } = question else { panic!("{question:?}") };
        assert!(body[2].starts_with(b"[{\"role\""), "the prompt comes third");
        assert_eq!(message_ends, [1 + first.len(), body[2].len() - 1]);
    }

    #[test]
    fn a_completion_is_asked_for_or_gives_its_tokens() {
        let text = r#"{"prompt": "The gate 牌樓", "add_special_tokens": false, "messages": []}"#;
        let expected = r#"{"model": "tuned \"1\"", "prompt": "The gate 牌樓", "add_special_tokens": false}"#;
        assert_eq!(question(Api::Completions, text), json(expected));
        assert_eq!(question(Api::Completions, r#"{"prompt": [1, 22 ,333]}"#), json("[1, 22, 333]"));
        assert_eq!(question(Api::Generate, r#"{"token_ids": [1, 22], "sampling_params": {}}"#), json("[1, 22]"));
        assert_eq!(question(Api::Generate, r#"{"token_ids": [1, 22], "features": {"mm_hashes": {}}}"#), None);
    }

    #[test]
    fn a_prompt_that_the_tokenizer_would_read_otherwise_is_not_asked_for() {
        let image = r#"{"messages": [{"role": "user", "content": [{"type": "image\u005furl", "image_url": {"url": "x"}}]}]}"#;
        let documents = r#"{"messages": [{"role": "user", "content": "x"}], "documents": [{}]}"#;
        let after_text = r#"{"messages": [{"content": [{"type": "text", "text": "x"}, {"type": "audio_embeds", "x": 1}]}]}"#;
        for body in [image, after_text, documents, "{}", r#"{"messages": "x"}"#] {
            assert_eq!(question(Api::ChatCompletions, body), None, "{body}");
        }
        for body in [
            r#"{"prompt": ["a", "b"]}"#,
            r#"{"prompt": [[1]]}"#,
            r#"{"prompt": []}"#,
            r#"{"prompt": [-1]}"#,
            r#"{"prompt": "a", "suffix": "b"}"#,
        ] {
            assert_eq!(question(Api::Completions, body), None, "{body}");
        }
        assert_eq!(question(Api::Embeddings, r#"{"input": "a"}"#), None);
    }

    #[test]
    fn other_forms_are_asked_for_as_the_chat_that_they_are() {
        let expected = json(
            r#"{"model": "tuned \"1\"", "messages": [{"role": "system", "content": "b"}, {"role": "user", "content": "a"}],
            "add_generation_prompt": true}"#,
        );
        assert_eq!(question(Api::Responses, r#"{"input": "a", "instructions": "b"}"#), expected);
        assert_eq!(question(Api::Messages, r#"{"messages": [{"role": "user", "content": "a"}], "system": "b"}"#), expected);
        assert_eq!(question(Api::Messages, r#"{"messages": [], "tools": [{}]}"#), None);
        let tool =
            r#"{"messages": [{"role": "user", "content": "a"}], "tools": [{"name": "t", "input_schema": {"type": "object"}}]}"#;
        let expected = json(
            r#"{"model": "tuned \"1\"", "messages": [{"role": "user", "content": "a"}], "tools": [{"type": "function", "function":
            {"name": "t", "description": null, "parameters": {"type": "object"}}}], "add_generation_prompt": true}"#,
        );
        assert_eq!(question(Api::Messages, tool), expected);
    }
}
