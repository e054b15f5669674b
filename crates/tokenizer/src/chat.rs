//! A chat as vLLM hands it to a template: contents as texts or parts, arguments of calls as objects, descriptions of tools in one order.

use minijinja::{Value, value::ValueKind};

use crate::{PromptError, template::ContentForm};

/// A chat's messages, with contents in a form.
///
/// # Errors
/// A message is none, or has parts that are no text.
pub(crate) fn messages(all: &Value, form: ContentForm) -> Result<Value, PromptError> {
    let messages = items(all).ok_or_else(|| PromptError::Malformed("`messages` is no list".to_owned()))?;
    messages.iter().map(|it| message(it, form)).collect::<Result<Vec<Value>, _>>().map(Value::from)
}

fn message(message: &Value, form: ContentForm) -> Result<Value, PromptError> {
    let member = |name: &str| message.get_attr(name).ok().filter(|value| !value.is_undefined() && !value.is_none());
    let role = member("role").ok_or_else(|| PromptError::Malformed("a message has no role".to_owned()))?;
    let is = |name: &str| role.as_str() == Some(name);
    let mut members = vec![("role", role.clone()), ("content", content(member("content"), form)?)];
    if is("assistant") {
        let calls = member("tool_calls").and_then(|calls| items(&calls)).filter(|calls| !calls.is_empty());
        if let Some(calls) = calls {
            members.push(("tool_calls", Value::from(calls.iter().map(call).collect::<Vec<Value>>())));
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

/// A past call, with its arguments as an object.
fn call(call: &Value) -> Value {
    let function = call.get_attr("function").unwrap_or_default();
    let Ok(arguments) = function.get_attr("arguments") else { return call.clone() };
    let arguments = match arguments.as_str() {
        Some(text) if !text.is_empty() => serde_json::from_str(text).unwrap_or(arguments),
        None if !arguments.is_none() && !arguments.is_undefined() => arguments,
        _ => Value::from_pairs::<[(&str, Value); 0], _, _>([]),
    };
    replaced(call, "function", replaced(&function, "arguments", arguments))
}

/// A chat's tools as vLLM's types write them.
pub(crate) fn tools(all: &Value) -> Option<Value> {
    let tools = items(all).filter(|tools| !tools.is_empty())?;
    let tool = |tool: &Value| {
        let Ok(function) = tool.get_attr("function") else { return tool.clone() };
        let known = ["name", "description", "parameters"];
        let given = |name: &str| function.get_attr(name).ok().filter(|value| !value.is_undefined()).unwrap_or_else(none);
        let mut members: Vec<(Value, Value)> = known.iter().map(|name| (Value::from(*name), given(name))).collect();
        members.extend(pairs(&function).filter(|(name, _)| !known.iter().any(|known| name.as_str() == Some(known))));
        let kind = tool.get_attr("type").ok().filter(|kind| !kind.is_undefined()).unwrap_or_else(|| "function".into());
        Value::from_pairs([("type", kind), ("function", Value::from_pairs(members))])
    };
    Some(tools.iter().map(tool).collect::<Vec<Value>>().into())
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
