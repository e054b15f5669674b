//! Chats that requests in the form of other APIs stand for, as vLLM makes them: a message for the instructions, and the conversation's.

use std::{borrow::Cow, ops::Range};

use crate::{
    Api,
    document::{Document, Members},
    json, members,
    message_parts::{are_texts, containers},
    scan::ScanError,
};

/// A chat's messages as JSON.
#[derive(Debug, Default)]
pub(super) struct Chat {
    pub(super) messages: Vec<u8>,
    /// Places in them where each message ends.
    pub(super) ends: Vec<usize>,
}

impl Chat {
    /// The chat of a request to this API. `None`: its prompt has images, tools, or what an engine has stored, or is of another form.
    pub(super) fn new(api: Api, body: &[u8]) -> Option<Self> {
        let mut members = FormMembers::default();
        Document::default().read(body, true, &mut members).ok()?;
        let FormMembers { system, turns, is_foreign } = members;
        let [system, turns] = [system, turns].map(|span| span.map(|span| &body[span]));
        let mut chat = Self { messages: b"[".to_vec(), ends: Vec::new() };
        if is_foreign {
            return None;
        }
        if let Some(system) = system {
            chat.push(b"\"system\"", &joined(system)?);
        }
        match (api, turns?) {
            (Api::Responses, input) if input.starts_with(b"\"") => chat.push(b"\"user\"", input),
            (Api::Responses | Api::Messages, turns) if turns.starts_with(b"[") => {
                if !are_texts(turns) {
                    return None;
                }
                for turn in containers(turns) {
                    chat.turn(api, &turns[turn])?;
                }
            }
            _ => return None,
        }
        chat.messages.push(b']');
        Some(chat)
    }

    /// Appends a message as it stands; its content is text.
    fn turn(&mut self, api: Api, turn: &[u8]) -> Option<()> {
        let found = |name| members::member(turn, name).map(|span| &turn[span]);
        let (role, content) = (found("role")?, found("content")?);
        let is_message = found("type").is_none_or(|kind| kind == b"\"message\"");
        if !role.starts_with(b"\"") || !is_message {
            return None;
        }
        let content = match api {
            Api::Messages => parts(content)?,
            _ => Cow::Borrowed(content),
        };
        self.push(role, &content);
        Some(())
    }

    fn push(&mut self, role: &[u8], content: &[u8]) {
        if !self.ends.is_empty() {
            self.messages.push(b',');
        }
        for piece in [&b"{\"role\":"[..], role, b",\"content\":", content, b"}"] {
            self.messages.extend_from_slice(piece);
        }
        self.ends.push(self.messages.len());
    }
}

/// A string, or the texts of several blocks as one.
fn joined(system: &[u8]) -> Option<Cow<'_, [u8]>> {
    if system.starts_with(b"\"") {
        return Some(Cow::Borrowed(system));
    }
    let mut whole = b"\"".to_vec();
    for text in texts(system)? {
        whole.extend_from_slice(&text[1..text.len() - 1]);
    }
    whole.push(b'"');
    Some(Cow::Owned(whole))
}

/// A message's content: a string, or blocks as parts. One block is a string to templates.
fn parts(content: &[u8]) -> Option<Cow<'_, [u8]>> {
    if content.starts_with(b"\"") {
        return Some(Cow::Borrowed(content));
    }
    let texts = texts(content)?;
    if let [text] = texts.as_slice() {
        return Some(Cow::Borrowed(*text));
    }
    let parts: Vec<_> = texts.iter().map(|text| [b"{\"type\":\"text\",\"text\":", *text, b"}"].concat()).collect();
    Some(Cow::Owned([b"[", parts.join(&b","[..]).as_slice(), b"]"].concat()))
}

/// Texts of a list of blocks, as JSON strings.
fn texts(blocks: &[u8]) -> Option<Vec<&[u8]>> {
    if !blocks.starts_with(b"[") {
        return None;
    }
    let text = |block: Range<usize>| {
        let block = &blocks[block];
        let is_text = members::member(block, "type").is_some_and(|kind| block[kind] == *b"\"text\"");
        let text = &block[members::member(block, "text").filter(|_| is_text)?];
        text.starts_with(b"\"").then_some(text)
    };
    containers(blocks).map(text).collect()
}

/// Members that the prompt depends on.
#[derive(Default)]
struct FormMembers {
    system: Option<Range<usize>>,
    turns: Option<Range<usize>>,
    is_foreign: bool,
}

impl Members for FormMembers {
    fn member(&mut self, body: &[u8], name: Range<usize>, value: Range<usize>) -> Result<(), ScanError> {
        if matches!(&body[value.clone()], b"null" | b"[]") {
            return Ok(());
        }
        match &*json::text(body, &name)? {
            "system" | "instructions" => self.system = Some(value),
            "messages" | "input" => self.turns = Some(value),
            "tools"
            | "previous_response_id"
            | "previous_response"
            | "previous_input_messages"
            | "conversation"
            | "prompt"
            | "reasoning"
            | "chat_template_kwargs"
            | "mm_processor_kwargs"
            | "truncation" => self.is_foreign = true,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(api: Api, body: &str) -> Option<String> {
        let chat = Chat::new(api, body.as_bytes())?;
        assert!(chat.ends.iter().all(|end| chat.messages[*end - 1] == b'}'));
        assert_eq!(chat.ends.last().copied(), Some(chat.messages.len() - 1));
        Some(String::from_utf8(chat.messages).expect("text"))
    }

    #[test]
    fn a_response_is_a_chat_of_its_instructions_and_its_input() {
        let cases = [
            (r#"{"input":"a \"b\"","tools":[]}"#, r#"[{"role":"user","content":"a \"b\""}]"#),
            (
                r#"{"instructions":"Be brief.","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"a"}]}]}"#,
                r#"[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"input_text","text":"a"}]}]"#,
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(chat(Api::Responses, body).as_deref(), Some(expected), "{body}");
        }
        for body in [
            r#"{"input":"a","previous_response_id":"resp_1"}"#,
            r#"{"input":"a","tools":[{"type":"function"}]}"#,
            r#"{"input":"a","reasoning":{"effort":"low"}}"#,
            r#"{"input":[{"type":"function_call_output","output":"1"}]}"#,
            r#"{"input":[{"role":"user","content":[{"type":"input_image","image_url":"x"}]}]}"#,
            "{}",
        ] {
            assert_eq!(chat(Api::Responses, body), None, "{body}");
        }
    }

    #[test]
    fn anthropics_blocks_of_text_are_what_vllm_makes_of_them() {
        let cases = [
            (
                r#"{"system":"Be brief.","messages":[{"role":"user","content":"a"}]}"#,
                r#"[{"role":"system","content":"Be brief."},{"role":"user","content":"a"}]"#,
            ),
            (
                r#"{"system":[{"type":"text","text":"Be "},{"type":"text","text":"\u0062rief","cache_control":{"type":"ephemeral"}}],"messages":[
                    {"role":"user","content":[{"type":"text","text":"a"}]},
                    {"content":[{"type":"text","text":"b"},{"text":"c","type":"text"}],"role":"assistant"}]}"#,
                r#"[{"role":"system","content":"Be \u0062rief"},{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":"b"},{"type":"text","text":"c"}]}]"#,
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(chat(Api::Messages, body).as_deref(), Some(expected), "{body}");
        }
        for body in [
            r#"{"messages":[{"role":"user","content":[{"type":"image","source":{}}]}]}"#,
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":"x"}]}]}"#,
            r#"{"system":[{"type":"image"}],"messages":[{"role":"user","content":"a"}]}"#,
            r#"{"messages":"a"}"#,
        ] {
            assert_eq!(chat(Api::Messages, body), None, "{body}");
        }
    }
}
