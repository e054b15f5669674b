//! Chats that requests in the form of other APIs stand for, as vLLM makes them: a message for the instructions, and the
//! conversation's.

mod anthropic;

use std::ops::Range;

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
    /// Its tools as JSON.
    pub(super) tools: Option<Vec<u8>>,
}

impl Chat {
    /// The chat of a request to this API. `None`: its prompt has images, tools of the Responses API, or what an engine has stored,
    /// or is of another form.
    pub(super) fn new(api: Api, body: &[u8]) -> Option<Self> {
        let mut members = FormMembers::default();
        Document::default().read(body, true, &mut members).ok()?;
        let FormMembers { system, turns, tools, tool_choice, is_foreign } = members;
        let [system, turns, tools, tool_choice] = [system, turns, tools, tool_choice].map(|span| span.map(|span| &body[span]));
        let mut chat = Self { messages: b"[".to_vec(), ..Self::default() };
        if is_foreign {
            return None;
        }
        let turns = turns?;
        match api {
            Api::Responses if tools.is_none() => chat.response(system, turns)?,
            Api::Messages if turns.starts_with(b"[") => {
                // Engines leave tools out then, or do not, by a flag of theirs.
                if tools.is_some() && tool_choice.and_then(|choice| value(choice, "type")) == Some(b"\"none\"") {
                    return None;
                }
                anthropic::add(&mut chat, system, turns)?;
                chat.tools = tools.map_or(Some(None), |tools| anthropic::tools(tools).map(Some))?;
            }
            _ => return None,
        }
        chat.messages.push(b']');
        Some(chat)
    }

    /// Appends the chat of a response's instructions and its input.
    fn response(&mut self, instructions: Option<&[u8]>, input: &[u8]) -> Option<()> {
        if let Some(instructions) = instructions {
            self.push(b"\"system\"", Some(instructions).filter(|text| is_string(text))?);
        }
        if is_string(input) {
            self.push(b"\"user\"", input);
            return Some(());
        }
        if !input.starts_with(b"[") || !are_texts(input) {
            return None;
        }
        containers(input).try_for_each(|turn| self.turn(&input[turn]))
    }

    /// Appends a message as it stands; its content is text.
    fn turn(&mut self, turn: &[u8]) -> Option<()> {
        let found = |name| members::member(turn, name).map(|span| &turn[span]);
        let (role, content) = (found("role")?, found("content")?);
        let is_message = found("type").is_none_or(|kind| kind == b"\"message\"");
        if !is_string(role) || !is_message {
            return None;
        }
        self.push(role, content);
        Some(())
    }

    fn push(&mut self, role: &[u8], content: &[u8]) {
        self.push_members(role, &[b"\"content\":", content].concat());
    }

    /// Appends a message with these members beside its role.
    fn push_members(&mut self, role: &[u8], members: &[u8]) {
        if !self.ends.is_empty() {
            self.messages.push(b',');
        }
        let separator: &[u8] = if members.is_empty() { b"" } else { b"," };
        for piece in [b"{\"role\":", role, separator, members, b"}"] {
            self.messages.extend_from_slice(piece);
        }
        self.ends.push(self.messages.len());
    }
}

/// The value of a member that is there and not null.
fn value<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    members::member(object, name).map(|span| &object[span]).filter(|value| *value != b"null")
}

fn is_string(value: &[u8]) -> bool {
    value.starts_with(b"\"")
}

/// Members that the prompt depends on.
#[derive(Default)]
struct FormMembers {
    system: Option<Range<usize>>,
    turns: Option<Range<usize>>,
    tools: Option<Range<usize>>,
    tool_choice: Option<Range<usize>>,
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
            "tools" => self.tools = Some(value),
            "tool_choice" => self.tool_choice = Some(value),
            // Versions of vLLM tell the template of other types, or do not.
            "thinking" => {
                let kind = self::value(&body[value], "type");
                self.is_foreign |= !matches!(kind, Some(b"\"enabled\"" | b"\"adaptive\""));
            }
            "previous_response_id"
            | "previous_response"
            | "previous_input_messages"
            | "conversation"
            | "prompt"
            | "reasoning"
            | "output_config"
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
            r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image","source":{}}]}]}]}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"output_config":{"effort":"low"}}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#,
            r#"{"messages":[{"role":"user","content":"a"}],"tools":[{"name":"a","input_schema":{}}],"tool_choice":{"type":"none"}}"#,
            r#"{"system":[{"type":"image"}],"messages":[{"role":"user","content":"a"}]}"#,
            r#"{"messages":"a"}"#,
        ] {
            assert_eq!(chat(Api::Messages, body), None, "{body}");
        }
    }

    #[test]
    fn anthropics_tools_are_what_vllm_makes_of_them() {
        let body = r#"{"tools":[{"name":"w","description":"d","input_schema":{"properties":{}},"cache_control":{}},{"name":"v","input_schema":{"type":"object"}},{"name":"u","input_schema":{ }}],
            "messages":[{"role":"user","content":"a"},
            {"role":"assistant","content":[{"type":"thinking","thinking":"h","signature":"s"},{"type":"text","text":"b"},{"type":"tool_use","id":"1","name":"w","input":{"p":"\"東京"}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":[{"type":"text","text":"x"},{"type":"text","text":"y"}]}]},
            {"role":"assistant","content":[{"type":"tool_use","id":"2","name":"v"}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"2","content":"z"},{"type":"text","text":"c"}]}]}"#;
        let expected = r#"[{"role":"user","content":"a"},{"role":"assistant","reasoning":"h","tool_calls":[{"id":"1","type":"function","function":{"name":"w","arguments":"{\"p\":\"\\\"東京\"}"}}],"content":"b"},{"role":"tool","tool_call_id":"1","content":"x\ny"},{"role":"assistant","tool_calls":[{"id":"2","type":"function","function":{"name":"v","arguments":"{}"}}]},{"role":"tool","tool_call_id":"2","content":"z"},{"role":"user","content":"c"}]"#;
        assert_eq!(chat(Api::Messages, body).as_deref(), Some(expected));
        let tools = Chat::new(Api::Messages, body.as_bytes()).and_then(|chat| chat.tools).expect("tools");
        let expected = r#"[{"type":"function","function":{"name":"w","description":"d","parameters":{"properties":{},"type":"object"}}},{"type":"function","function":{"name":"v","description":null,"parameters":{"type":"object"}}},{"type":"function","function":{"name":"u","description":null,"parameters":{ "type":"object"}}}]"#;
        assert_eq!(String::from_utf8(tools).as_deref(), Ok(expected));
    }

    #[test]
    fn anthropics_instructions_are_one_message_without_what_differs_by_request() {
        let body = r#"{"system":[{"type":"text","text":"x-anthropic-billing-header: 1"},{"type":"text","text":"Be "},
            {"type":"text","text":"brief."}],"messages":[{"role":"user","content":"a"}]}"#;
        let expected = r#"[{"role":"system","content":"Be brief."},{"role":"user","content":"a"}]"#;
        assert_eq!(chat(Api::Messages, body).as_deref(), Some(expected));
    }

    #[test]
    fn what_versions_of_vllm_read_otherwise_is_no_chat() {
        let body = |role, thinking| {
            format!(
                r#"{{"messages":[{{"role":"user","content":"a"}},{{"role":"{role}","content":"b"}}],"thinking":{thinking},"max_tokens":9}}"#
            )
        };
        for (role, thinking) in
            [("assistant", r#"{"type":"enabled","budget_tokens":1024}"#), ("user", r#"{"type":"adaptive"}"#), ("user", "null")]
        {
            assert!(chat(Api::Messages, &body(role, thinking)).is_some(), "{role}: {thinking}");
        }
        for (role, thinking) in [
            ("system", "null"),
            ("ctx", "null"),
            ("msg", "null"),
            ("user", r#"{"type":"disabled"}"#),
            ("user", r#"{"type":"another"}"#),
            ("user", "{}"),
            ("user", "true"),
        ] {
            assert_eq!(chat(Api::Messages, &body(role, thinking)), None, "{role}: {thinking}");
        }
    }
}
