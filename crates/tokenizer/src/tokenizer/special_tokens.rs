//! Special tokens around a prompt that is not a chat, such as the one that begins it.

use serde_json::Value;

use super::document::Step;
use crate::FileError;

/// Tokens around a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpecialTokens {
    pub(crate) before: Vec<u32>,
    pub(crate) after: Vec<u32>,
}

impl SpecialTokens {
    pub(super) fn new(step: Option<&Step>) -> Result<Self, FileError> {
        let mut all = Self::default();
        if let Some(step) = step {
            all.add(step, "post_processor")?;
        }
        Ok(all)
    }

    fn add(&mut self, step: &Step, field: &str) -> Result<(), FileError> {
        match step.get("type").and_then(Value::as_str).unwrap_or_default() {
            "ByteLevel" => Ok(()),
            "Sequence" => {
                for (place, step) in step.get("processors").and_then(Value::as_array).into_iter().flatten().enumerate() {
                    let field = format!("{field}.processors[{place}]");
                    self.add(step.as_object().ok_or_else(|| super::unsupported(field.clone(), "no object"))?, &field)?;
                }
                Ok(())
            }
            "TemplateProcessing" => self.add_template(step, field),
            other => Err(super::unsupported(format!("{field}.type"), other)),
        }
    }

    fn add_template(&mut self, step: &Step, field: &str) -> Result<(), FileError> {
        let (mut before, mut after, mut is_after) = (Vec::new(), Vec::new(), false);
        for part in step.get("single").and_then(Value::as_array).into_iter().flatten() {
            if part.get("Sequence").is_some() {
                is_after = true;
                continue;
            }
            let name = part.get("SpecialToken").and_then(|token| token.get("id")).and_then(Value::as_str).unwrap_or_default();
            let ids = step.get("special_tokens").and_then(|all| all.get(name)).and_then(|token| token.get("ids"));
            let ids = ids.and_then(Value::as_array).ok_or_else(|| super::unsupported(format!("{field}.single"), name))?;
            let ids = ids.iter().filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok());
            if is_after { after.extend(ids) } else { before.extend(ids) }
        }
        before.append(&mut self.before);
        self.before = before;
        self.after.append(&mut after);
        Ok(())
    }
}
