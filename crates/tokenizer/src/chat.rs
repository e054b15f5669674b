//! A chat as vLLM hands it to a template: contents as texts or parts, arguments of calls as objects, descriptions of tools in one order.

use minijinja::{Value, value::ValueKind};

use crate::{PromptError, template::ContentForm};

/// Most objects and lists of a question, and of the arguments that its calls have as text: each takes some 600 bytes of memory,
/// however short it is.
const MAX_CONTAINERS: usize = 32 << 10;

/// Whether this JSON may have more objects and lists than are read. Those in its texts count, too: a look at the whole costs little.
pub(crate) fn has_many_containers(json: &[u8]) -> bool {
    containers(json) > MAX_CONTAINERS
}

fn containers(json: &[u8]) -> usize {
    json.iter().filter(|byte| matches!(byte, b'{' | b'[')).count()
}

/// A chat's messages, with contents in a form.
///
/// # Errors
/// A message is none, has parts that are no text, or calls have too many objects and lists.
pub(crate) fn messages(all: &Value, form: ContentForm) -> Result<Value, PromptError> {
    let messages = items(all).ok_or_else(|| PromptError::Malformed("`messages` is no list".to_owned()))?;
    let mut containers = 0;
    messages.iter().map(|it| message(it, form, &mut containers)).collect::<Result<Vec<Value>, _>>().map(Value::from)
}

fn message(message: &Value, form: ContentForm, containers: &mut usize) -> Result<Value, PromptError> {
    let member = |name: &str| message.get_attr(name).ok().filter(|value| !value.is_undefined() && !value.is_none());
    let role = member("role").ok_or_else(|| PromptError::Malformed("a message has no role".to_owned()))?;
    let is = |name: &str| role.as_str() == Some(name);
    let mut members = vec![("role", role.clone()), ("content", content(member("content"), form)?)];
    if is("assistant") {
        let calls = member("tool_calls").and_then(|calls| items(&calls)).filter(|calls| !calls.is_empty());
        if let Some(calls) = calls {
            let calls: Result<Vec<Value>, _> = calls.iter().map(|it| call(it, containers)).collect();
            members.push(("tool_calls", calls?.into()));
        }
        if let Some(reasoning) = member("reasoning").or(member("reasoning_content")) {
            members.push(("reasoning", reasoning.clone()));
            members.push(("reasoning_content", reasoning));
        }
    } else if is("tool") {
        members.extend(member("tool_call_id").map(|id| ("tool_call_id", id)));
    }
    members.extend(member("name").map(|name| ("name", name)));
    Ok(Value::from_pairs(members))
}

fn content(content: Option<Value>, form: ContentForm) -> Result<Value, PromptError> {
    let texts = match &content {
        None => Vec::new(),
        Some(text) if text.kind() == ValueKind::String => vec![text.clone()],
        Some(parts) => {
            let parts = items(parts).ok_or_else(|| PromptError::Malformed("a content is no text".to_owned()))?;
            parts.iter().map(text_of_part).collect::<Result<Vec<Value>, _>>()?
        }
    };
    if form == ContentForm::Parts {
        let part = |text: Value| Value::from_pairs([("type", Value::from("text")), ("text", text)]);
        return Ok(texts.into_iter().map(part).collect::<Vec<Value>>().into());
    }
    let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
    Ok(texts.join("\n").into())
}

fn text_of_part(part: &Value) -> Result<Value, PromptError> {
    let text = if part.kind() == ValueKind::String { Some(part.clone()) } else { part.get_attr("text").ok() };
    text.filter(|text| text.as_str().is_some()).ok_or(PromptError::Unsupported("a part that is no text"))
}

/// A past call, with its arguments as an object. It adds their objects and lists to those of the calls before.
fn call(call: &Value, containers: &mut usize) -> Result<Value, PromptError> {
    let function = call.get_attr("function").unwrap_or_default();
    let Ok(arguments) = function.get_attr("arguments") else { return Ok(call.clone()) };
    // In the question they may be written as escapes.
    *containers += arguments.as_str().map_or(0, |text| self::containers(text.as_bytes()));
    if *containers > MAX_CONTAINERS {
        return Err(PromptError::TooLong);
    }
    let arguments = match arguments.as_str() {
        Some(text) if !text.is_empty() => serde_json::from_str(text).unwrap_or(arguments),
        None if !arguments.is_none() && !arguments.is_undefined() => arguments,
        _ => Value::from_pairs::<[(&str, Value); 0], _, _>([]),
    };
    Ok(replaced(call, "function", replaced(&function, "arguments", arguments)))
}

/// A chat's tools as vLLM's types write them.
///
/// # Errors
/// One is no function, or has members that versions of vLLM keep or drop.
pub(crate) fn tools(all: &Value) -> Result<Option<Value>, PromptError> {
    let Some(tools) = items(all).filter(|tools| !tools.is_empty()) else { return Ok(None) };
    tools.iter().map(tool).collect::<Result<Vec<Value>, _>>().map(|tools| Some(tools.into()))
}

fn tool(tool: &Value) -> Result<Value, PromptError> {
    const KNOWN: [&str; 3] = ["name", "description", "parameters"];
    let function = tool.get_attr("function").ok().filter(|function| function.kind() == ValueKind::Map);
    let function = function.ok_or_else(|| PromptError::Malformed("a tool has no function".to_owned()))?;
    let is_known = |name: &Value, all: &[&str]| name.as_str().is_some_and(|name| all.contains(&name));
    let others: Vec<(Value, Value)> = pairs(&function).filter(|(name, _)| !is_known(name, &KNOWN)).collect();
    let is_foreign = |(name, value): &(Value, Value)| !is_known(name, &["strict"]) || value.is_none();
    if others.iter().any(is_foreign) || pairs(tool).any(|(name, _)| !is_known(&name, &["type", "function"])) {
        return Err(PromptError::Unsupported("a tool with members that versions of engines keep or drop"));
    }
    let given = |name: &str| function.get_attr(name).ok().filter(|value| !value.is_undefined()).unwrap_or_else(none);
    let members = KNOWN.iter().map(|name| (Value::from(*name), given(name))).chain(others);
    let kind = tool.get_attr("type").ok().filter(|kind| !kind.is_undefined()).unwrap_or_else(|| "function".into());
    Ok(Value::from_pairs([("type", kind), ("function", Value::from_pairs(members))]))
}

fn none() -> Value {
    Value::from(())
}

fn replaced(object: &Value, name: &str, value: Value) -> Value {
    let member = |(key, old): (Value, Value)| if key.as_str() == Some(name) { (key, value.clone()) } else { (key, old) };
    let members: Vec<(Value, Value)> = pairs(object).map(member).collect();
    Value::from_pairs(members)
}

fn pairs(object: &Value) -> impl Iterator<Item = (Value, Value)> + '_ {
    object.try_iter().into_iter().flatten().filter_map(|key| Some((key.clone(), object.get_item(&key).ok()?)))
}

fn items(list: &Value) -> Option<Vec<Value>> {
    (list.kind() == ValueKind::Seq).then(|| list.try_iter().ok().map(Iterator::collect)).flatten()
}
