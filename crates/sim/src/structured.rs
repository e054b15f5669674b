//! Structured outputs: an answer in JSON, by a schema where one is given.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::reply::ApiError;
use crate::schema::sample;

/// `response_format` of a chat, or `text.format` of a response.
#[derive(Deserialize)]
pub(crate) struct ResponseFormat {
    #[serde(rename = "type")]
    kind: String,
    /// Chat completions have the schema in here.
    json_schema: Option<JsonSchema>,
    /// The Responses API has it beside the type.
    schema: Option<Value>,
}

#[derive(Deserialize)]
struct JsonSchema {
    schema: Option<Value>,
}

impl ResponseFormat {
    /// The answer; `None` for prose.
    ///
    /// # Errors
    /// The format is unknown, or its schema is missing.
    pub(crate) fn output(&self, topic: &str) -> Result<Option<String>, ApiError> {
        match self.kind.as_str() {
            "text" => Ok(None),
            "json_object" => Ok(Some(json!({"answer": topic.chars().take(48).collect::<String>()}).to_string())),
            "json_schema" => {
                let schema = self.json_schema.as_ref().and_then(|inner| inner.schema.as_ref()).or(self.schema.as_ref());
                let schema =
                    schema.ok_or_else(|| ApiError::bad_request("`response_format` of type json_schema needs a schema."))?;
                Ok(Some(sample(schema, topic).to_string()))
            }
            other => {
                Err(ApiError::bad_request(format!("`response_format` must be text, json_object or json_schema, not {other}.")))
            }
        }
    }
}
