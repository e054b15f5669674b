//! Tool calls: the first tool, with arguments that its schema superficially allows.

use serde_json::{Value, json};

use crate::schema::sample;

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
    let arguments = match sample(tool.schema, topic) {
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
