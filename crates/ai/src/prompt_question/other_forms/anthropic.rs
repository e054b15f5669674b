//! Chats that requests to Anthropic Messages stand for, as vLLM makes them: one message for the instructions, calls of tools as an
//! assistant's, and their results as messages of their own.

use super::{Chat, is_string, value};
use crate::{json, message_parts::containers};

/// Beginning of a block of the instructions that vLLM leaves out: its text is another for each request.
const BILLING: &[u8] = b"\"x-anthropic-billing-header";
const EMPTY: &[u8] = b"\"\"";

/// Appends the chat of these instructions and messages. `None`: there are images, blocks that engines do not read, or instructions
/// among the messages.
pub(super) fn add(chat: &mut Chat, system: Option<&[u8]>, messages: &[u8]) -> Option<()> {
    let mut instructions = Vec::new();
    if let Some(system) = system.filter(|system| *system != EMPTY) {
        add_instructions(&mut instructions, system)?;
    }
    if !instructions.is_empty() {
        chat.push(b"\"system\"", &joined(&instructions, b""));
    }
    containers(messages).try_for_each(|message| add_message(chat, &messages[message]))
}

/// The tools as a chat's. `None`: one is none of the client's own, or has settings that versions of engines read otherwise.
pub(super) fn tools(all: &[u8]) -> Option<Vec<u8>> {
    let tool = |tool: &[u8]| {
        let name = value(tool, "name").filter(|name| is_string(name))?;
        let description = value(tool, "description").unwrap_or(b"null");
        let schema = value(tool, "input_schema").filter(|schema| schema.starts_with(b"{"))?;
        if value(tool, "defer_loading").or(value(tool, "strict")).is_some() {
            return None;
        }
        let (end, rest) = schema.split_last()?;
        let is_empty = rest[1..].trim_ascii().is_empty();
        let kind: &[u8] = match value(schema, "type") {
            Some(_) => b"",
            None if is_empty => b"\"type\":\"object\"",
            None => b",\"type\":\"object\"",
        };
        let parts: [&[u8]; 9] = [
            b"{\"type\":\"function\",\"function\":{\"name\":",
            name,
            b",\"description\":",
            description,
            b",\"parameters\":",
            rest,
            kind,
            &[*end],
            b"}}",
        ];
        Some(parts.concat())
    };
    let tools: Option<Vec<Vec<u8>>> = containers(all).map(|it| tool(&all[it])).collect();
    Some(list(&tools?))
}

/// Appends the texts of a string or of blocks.
fn add_instructions<'a>(texts: &mut Vec<&'a [u8]>, content: &'a [u8]) -> Option<()> {
    if is_string(content) {
        texts.push(content);
        return Some(());
    }
    let of_blocks = texts_of(content)?.into_iter();
    texts.extend(of_blocks.filter(|text| *text != EMPTY && !text.starts_with(BILLING)));
    Some(())
}

fn add_message(chat: &mut Chat, message: &[u8]) -> Option<()> {
    let role: &[u8] = match value(message, "role")? {
        b"\"user\"" => b"\"user\"",
        b"\"assistant\"" => b"\"assistant\"",
        // Versions of vLLM move instructions to the front, leave them in their place, or go by what the template does.
        _ => return None,
    };
    let content = value(message, "content")?;
    if is_string(content) {
        chat.push(role, content);
        return Some(());
    }
    if !content.starts_with(b"[") {
        return None;
    }
    let mut blocks = Blocks::default();
    for block in containers(content) {
        blocks.add(chat, role, &content[block])?;
    }
    blocks.end(chat, role);
    Some(())
}

/// Blocks of one message, by their place in the chat's.
#[derive(Default)]
struct Blocks<'a> {
    texts: Vec<&'a [u8]>,
    thoughts: Vec<&'a [u8]>,
    calls: Vec<Vec<u8>>,
}

impl<'a> Blocks<'a> {
    fn add(&mut self, chat: &mut Chat, role: &[u8], block: &'a [u8]) -> Option<()> {
        let text = |name| value(block, name).filter(|text| is_string(text));
        match value(block, "type")? {
            b"\"text\"" => self.texts.extend(Some(text("text")?).filter(|text| *text != EMPTY)),
            b"\"thinking\"" => self.thoughts.push(text("thinking")?),
            b"\"redacted_thinking\"" => {}
            b"\"tool_use\"" => self.calls.push(call(text("id")?, text("name")?, value(block, "input").unwrap_or(b"{}"))?),
            b"\"tool_result\"" if role == b"\"user\"" => {
                let id = text("tool_use_id").unwrap_or(EMPTY);
                let content = match value(block, "content") {
                    None => EMPTY.to_vec(),
                    Some(content) if is_string(content) => content.to_vec(),
                    Some(content) => joined(&texts_of(content)?, b"\\n"),
                };
                let members = [&b"\"tool_call_id\":"[..], id, b",\"content\":", &content].concat();
                chat.push_members(b"\"tool\"", &members);
            }
            _ => return None,
        }
        Some(())
    }

    fn end(self, chat: &mut Chat, role: &[u8]) {
        let mut members = Vec::new();
        if !self.thoughts.is_empty() {
            members.push([&b"\"reasoning\":"[..], &joined(&self.thoughts, b"")].concat());
        }
        if !self.calls.is_empty() {
            members.push([&b"\"tool_calls\":"[..], &list(&self.calls)].concat());
        }
        match self.texts.as_slice() {
            // The results of a user's message are messages already.
            [] if role == b"\"user\"" => return,
            [] => {}
            // One block is a string to templates.
            [text] => members.push([b"\"content\":", *text].concat()),
            texts => {
                let parts: Vec<_> = texts.iter().map(|text| [b"{\"type\":\"text\",\"text\":", *text, b"}"].concat()).collect();
                members.push([&b"\"content\":"[..], &list(&parts)].concat());
            }
        }
        chat.push_members(role, &members.join(&b','));
    }
}

/// A call, with its arguments as text.
fn call(id: &[u8], name: &[u8], arguments: &[u8]) -> Option<Vec<u8>> {
    let mut call = [&b"{\"id\":"[..], id, b",\"type\":\"function\",\"function\":{\"name\":", name, b",\"arguments\":"].concat();
    json::push_string(&mut call, std::str::from_utf8(arguments).ok()?);
    call.extend_from_slice(b"}}");
    Some(call)
}

/// The texts of blocks, as JSON strings. `None`: others are among them.
fn texts_of(blocks: &[u8]) -> Option<Vec<&[u8]>> {
    if !blocks.starts_with(b"[") {
        return None;
    }
    let text = |block: &'_ [u8]| value(block, "type").is_some_and(|kind| kind == b"\"text\"");
    let texts = containers(blocks).map(|block| &blocks[block]);
    texts.map(|block| value(block, "text").filter(|found| text(block) && is_string(found))).collect()
}

/// Several strings as one.
fn joined(texts: &[&[u8]], separator: &[u8]) -> Vec<u8> {
    let inner: Vec<&[u8]> = texts.iter().map(|text| &text[1..text.len() - 1]).collect();
    [b"\"", inner.join(separator).as_slice(), b"\""].concat()
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    [b"[", items.join(&b',').as_slice(), b"]"].concat()
}
