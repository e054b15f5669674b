//! Values that a JSON schema allows, for tool calls and structured outputs.

use serde_json::{Map, Value, json};

/// Nesting of schemas that is followed.
const MAX_DEPTH: u32 = 12;
/// Items of a list, and characters of a text, that a schema's minimum may ask for.
const MAX_LENGTH: u64 = 256;

/// A value that `schema` allows: types, `enum`, `const`, bounds of numbers, texts and lists, required properties, `$ref` within the schema,
/// `anyOf`, `oneOf`, `allOf`. Texts are about `topic`. `pattern` is not followed.
pub(crate) fn sample(schema: &Value, topic: &str) -> Value {
    Sampler { root: schema, topic }.sample(schema, 0)
}

struct Sampler<'a> {
    root: &'a Value,
    topic: &'a str,
}

impl Sampler<'_> {
    fn sample(&self, schema: &Value, depth: u32) -> Value {
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            return target.map_or(Value::Null, |target| self.sample(target, depth + 1));
        }
        if let Some(value) = schema.get("const").or_else(|| schema.get("enum")?.get(0)) {
            return value.clone();
        }
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            return self.sample(&merged(schema, parts), depth + 1);
        }
        if let Some(alternatives) = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(*key)?.as_array()) {
            // In a type that contains itself one of them leads out.
            let way_out = alternatives.iter().find(|one| one.get("type") == Some(&json!("null"))).filter(|_| depth > MAX_DEPTH / 2);
            return way_out.or(alternatives.first()).map_or(Value::Null, |one| self.sample(one, depth + 1));
        }
        match kind(schema) {
            Some("string") => Value::from(self.string(schema)),
            Some("integer") => Value::from(number(schema, 1.0, 1.0) as i64),
            Some("number") => Value::from(number(schema, 1.5, 0.5)),
            Some("boolean") => Value::from(true),
            Some("array") => self.array(schema, depth),
            Some("null") => Value::Null,
            _ => Value::Object(self.object(schema, depth)),
        }
    }

    fn string(&self, schema: &Value) -> String {
        match schema.get("format").and_then(Value::as_str) {
            Some("date") => return "2026-01-02".to_owned(),
            Some("time") => return "03:04:05Z".to_owned(),
            Some("date-time") => return "2026-01-02T03:04:05Z".to_owned(),
            Some("duration") => return "PT1H".to_owned(),
            Some("uri") => return "https://example.com/".to_owned(),
            Some("hostname") => return "example.com".to_owned(),
            Some("ipv4") => return "192.0.2.1".to_owned(),
            Some("ipv6") => return "2001:db8::1".to_owned(),
            Some("uuid") => return "00000000-0000-4000-8000-000000000001".to_owned(),
            Some("email") => return "someone@example.com".to_owned(),
            _ => {}
        }
        let (least, most) = (bound(schema, "minLength").unwrap_or(0).min(MAX_LENGTH), bound(schema, "maxLength").unwrap_or(48));
        let mut text: String = self.topic.chars().filter(|c| !c.is_control()).take(most as usize).collect();
        let missing = (least as usize).saturating_sub(text.chars().count());
        text.extend(std::iter::repeat_n('x', missing));
        text
    }

    fn array(&self, schema: &Value, depth: u32) -> Value {
        let least = bound(schema, "minItems").unwrap_or(1).min(MAX_LENGTH);
        let count = least.min(bound(schema, "maxItems").unwrap_or(u64::MAX));
        let first = schema.get("prefixItems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let items = (0..count.max(first.len() as u64)).map(|place| {
            let item = first.get(place as usize).or_else(|| schema.get("items"));
            item.map_or(Value::Null, |item| self.sample(item, depth + 1))
        });
        items.collect()
    }

    /// The required properties; all of them if the schema names none.
    fn object(&self, schema: &Value, depth: u32) -> Map<String, Value> {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Map::new() };
        let required = schema.get("required").and_then(Value::as_array);
        let wanted = |name: &String| required.is_none_or(|required| required.iter().any(|wanted| wanted.as_str() == Some(name)));
        let values = properties.iter().filter(|(name, _)| wanted(name));
        values.map(|(name, schema)| (name.clone(), self.sample(schema, depth + 1))).collect()
    }
}

/// The type; the first of several.
fn kind(schema: &Value) -> Option<&str> {
    match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None => None,
    }
}

fn bound(schema: &Value, name: &str) -> Option<u64> {
    schema.get(name)?.as_u64()
}

/// A number within the bounds, near `usual`; `step` above or below a bound that is excluded.
fn number(schema: &Value, usual: f64, step: f64) -> f64 {
    let read = |name: &str| schema.get(name).and_then(Value::as_f64);
    let least = read("minimum").into_iter().chain(read("exclusiveMinimum").map(|least| least + step)).reduce(f64::max);
    let most = read("maximum").into_iter().chain(read("exclusiveMaximum").map(|most| most - step)).reduce(f64::min);
    let value = usual.max(least.unwrap_or(usual)).min(most.unwrap_or(f64::INFINITY));
    match read("multipleOf").filter(|unit| *unit > 0.0) {
        Some(unit) if least.is_none_or(|least| (value / unit).floor() * unit >= least) => (value / unit).floor() * unit,
        Some(unit) => (value / unit).ceil() * unit,
        None => value,
    }
}

/// A schema and those that have to hold with it, as one: properties and required ones add up, of the rest the first counts.
fn merged(schema: &Value, parts: &[Value]) -> Value {
    let mut all = schema.as_object().cloned().unwrap_or_default();
    all.remove("allOf");
    for part in parts.iter().filter_map(Value::as_object) {
        for (name, value) in part {
            match (all.get_mut(name), value) {
                (Some(Value::Object(own)), Value::Object(more)) => own.extend(more.clone()),
                (Some(Value::Array(own)), Value::Array(more)) => own.extend(more.iter().cloned()),
                (Some(_), _) => {}
                (None, value) => drop(all.insert(name.clone(), value.clone())),
            }
        }
    }
    Value::Object(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: Value, expected: Value) {
        assert_eq!(sample(&schema, "Weather in Paris?"), expected, "{schema}");
    }

    #[test]
    fn texts_numbers_and_lists_keep_their_bounds() {
        check(json!({"type": "string"}), json!("Weather in Paris?"));
        check(json!({"type": "string", "maxLength": 7}), json!("Weather"));
        check(json!({"type": "string", "minLength": 20}), json!("Weather in Paris?xxx"));
        check(json!({"type": "integer", "minimum": 3}), json!(3));
        check(json!({"type": "integer", "exclusiveMinimum": 3, "maximum": 9}), json!(4));
        check(json!({"type": "integer", "maximum": -2}), json!(-2));
        check(json!({"type": "number", "exclusiveMaximum": 1}), json!(0.5));
        check(json!({"type": "integer", "minimum": 11, "multipleOf": 10}), json!(20));
        check(json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2}), json!([true, true]));
        check(json!({"type": "array", "maxItems": 0}), json!([]));
        check(json!({"type": ["string", "null"], "format": "date"}), json!("2026-01-02"));
    }

    #[test]
    fn references_and_alternatives_are_followed_and_end() {
        let step = json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/step"}, {"type": "null"}]}}, "required": ["next"]});
        let value = sample(&json!({"$ref": "#/$defs/step", "$defs": {"step": step}}), "");
        let mut innermost = &value;
        while let Some(next) = innermost.get("next") {
            innermost = next;
        }
        assert_eq!(innermost, &Value::Null);
        let both = json!({"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]}, {"properties": {"b": {"enum": [2]}}, "required": ["b"]}]});
        check(both, json!({"a": 1, "b": 2}));
    }
}
