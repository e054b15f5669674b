//! Tool calls: the first tool, with arguments that its schema superficially allows.

use serde_json::{Map, Value, json};

/// Nesting of schemas that is followed.
const MAX_DEPTH: u32 = 8;

/// A call that the simulated model decides on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToolCall {
    pub(crate) name: String,
    /// A JSON object.
    pub(crate) arguments: String,
}

/// A tool on offer, whichever API described it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool<'a> {
    pub(crate) name: &'a str,
    pub(crate) schema: &'a Value,
}

/// The call to answer with. None without tools, when `choice` says "none", or after a tool's result: then the
/// model has what it asked for and speaks.
pub(crate) fn decide(tools: &[Tool<'_>], choice: Option<&Value>, answered: bool, topic: &str) -> Option<ToolCall> {
    let forced = choice.and_then(forced_name);
    let insists = forced.is_some() || matches!(choice.and_then(choice_word), Some("required" | "any"));
    if choice.and_then(choice_word) == Some("none") || (answered && !insists) {
        return None;
    }
    let tool = match forced {
        Some(name) => tools.iter().find(|tool| tool.name == name)?,
        None => tools.first()?,
    };
    let arguments = match sample(tool.schema, topic, 0) {
        Value::Object(object) => Value::Object(object),
        _ => json!({}),
    };
    Some(ToolCall { name: tool.name.to_owned(), arguments: arguments.to_string() })
}

/// `"auto"`, `{"type": "auto"}` and the like.
fn choice_word(choice: &Value) -> Option<&str> {
    choice.as_str().or_else(|| choice.get("type")?.as_str())
}

fn forced_name(choice: &Value) -> Option<&str> {
    choice.pointer("/function/name").or_else(|| choice.get("name"))?.as_str()
}

/// A value that `schema` allows, as far as type, enum, const, bounds and required properties go.
fn sample(schema: &Value, topic: &str, depth: u32) -> Value {
    if let Some(value) = schema.get("const").or_else(|| schema.get("enum")?.get(0)) {
        return value.clone();
    }
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    let alternative = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(*key)?.get(0));
    if let Some(alternative) = alternative {
        return sample(alternative, topic, depth + 1);
    }
    let kind = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None => None,
    };
    match kind {
        Some("string") => Value::from(string(schema, topic)),
        Some("integer") => Value::from(schema.get("minimum").and_then(Value::as_i64).unwrap_or(1)),
        Some("number") => Value::from(schema.get("minimum").and_then(Value::as_f64).unwrap_or(1.5)),
        Some("boolean") => Value::from(true),
        Some("array") => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1).min(16);
            let item = schema.get("items").map_or(Value::Null, |items| sample(items, topic, depth + 1));
            Value::from(vec![item; least as usize])
        }
        Some("null") => Value::Null,
        _ => Value::Object(object(schema, topic, depth)),
    }
}

fn string(schema: &Value, topic: &str) -> String {
    match schema.get("format").and_then(Value::as_str) {
        Some("date") => "2026-01-02".to_owned(),
        Some("date-time") => "2026-01-02T03:04:05Z".to_owned(),
        Some("uri") => "https://example.com/".to_owned(),
        Some("email") => "someone@example.com".to_owned(),
        _ => topic.chars().filter(|c| !c.is_control()).take(48).collect(),
    }
}

/// The required properties; all of them if the schema names none.
fn object(schema: &Value, topic: &str, depth: u32) -> Map<String, Value> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Map::new() };
    let required = schema.get("required").and_then(Value::as_array);
    let wanted = |name: &String| required.is_none_or(|required| required.iter().any(|wanted| wanted.as_str() == Some(name)));
    properties
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, schema)| (name.clone(), sample(schema, topic, depth + 1)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(schema: &Value) -> Value {
        let call = decide(&[Tool { name: "f", schema }], None, false, "Weather in Paris?").unwrap();
        serde_json::from_str(&call.arguments).unwrap()
    }

    #[test]
    fn required_properties_have_their_types() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}, "share": {"type": "number"},
                "metric": {"type": "boolean"}, "unit": {"enum": ["celsius", "kelvin"]}, "other": {"type": "string"},
                "places": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
            },
            "required": ["city", "days", "share", "metric", "unit", "places"],
        });
        assert_eq!(
            arguments(&schema),
            json!({"city": "Weather in Paris?", "days": 3, "share": 1.5, "metric": true, "unit": "celsius",
                   "places": [{"x": 1}]})
        );
    }

    #[test]
    fn a_schema_that_describes_no_object_gives_an_empty_one() {
        assert_eq!(arguments(&json!(null)), json!({}));
        assert_eq!(arguments(&json!({"type": "string"})), json!({}));
    }

    #[test]
    fn the_choice_decides_whether_and_what_to_call() {
        let schema = json!({});
        let tools = [Tool { name: "a", schema: &schema }, Tool { name: "b", schema: &schema }];
        let name = |choice: Value, answered| decide(&tools, Some(&choice), answered, "").map(|call| call.name);
        assert_eq!(name(json!("auto"), false).as_deref(), Some("a"));
        assert_eq!(name(json!("none"), false), None);
        assert_eq!(name(json!("auto"), true), None);
        assert_eq!(name(json!("required"), true).as_deref(), Some("a"));
        assert_eq!(name(json!({"type": "function", "function": {"name": "b"}}), false).as_deref(), Some("b"));
        assert_eq!(name(json!({"type": "none"}), false), None);
        assert_eq!(decide(&[], None, false, ""), None);
    }
}
