//! Limits of the tokens that a request's answers may have, under all the names that engines read.

use std::{borrow::Cow, ops::Range};

use crate::{
    document::{Document, Members},
    json,
    scan::ScanError,
};

/// Limits found so far: of several the largest counts, since nobody knows which one an engine reads.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OutputLimits {
    limit: Option<u64>,
    /// Answers to each prompt.
    answers: u64,
    prompts: u64,
}

impl OutputLimits {
    /// Takes a member of the outermost object.
    pub(crate) fn member(&mut self, body: &[u8], name: &str, value: &Range<usize>) {
        match name {
            // Gemini's, Ollama's, TGI's and Bedrock's.
            "generationConfig" | "generation_config" | "options" | "parameters" | "inferenceConfig"
                if body[value.start] == b'{' =>
            {
                // The reader of the whole body refuses a value that cannot be read.
                let _ = Document::default().read(&body[value.clone()], true, &mut Nested(self));
            }
            "prompt" => self.prompts = self.prompts.max(elements(&body[value.clone()])),
            _ => self.limit(body, name, value),
        }
    }

    /// Tokens of all answers.
    pub(crate) fn total(&self) -> Option<u64> {
        Some(self.limit?.saturating_mul(self.answers.max(1)).saturating_mul(self.prompts.max(1)))
    }

    fn limit(&mut self, body: &[u8], name: &str, value: &Range<usize>) {
        match name {
            "max_tokens"
            | "max_completion_tokens"
            | "max_output_tokens"
            | "max_new_tokens"
            | "max_tokens_to_sample"
            | "maxOutputTokens"
            | "maxTokens"
            | "num_predict" => self.limit = self.limit.max(count(&body[value.clone()])),
            "n" | "best_of" | "candidateCount" | "candidate_count" => {
                self.answers = self.answers.max(count(&body[value.clone()]).unwrap_or(1));
            }
            _ => {}
        }
    }
}

/// Members of an object that holds settings.
struct Nested<'l>(&'l mut OutputLimits);

impl Members for Nested<'_> {
    fn member(&mut self, body: &[u8], name: Range<usize>, value: Range<usize>) -> Result<(), ScanError> {
        let name: Cow<'_, str> = json::text(body, &name)?;
        self.0.limit(body, &name, &value);
        Ok(())
    }
}

/// A number that is not negative, whole or not, also as a text: engines take `"20"` and `20.0` for 20.
fn count(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)).ok()?;
    let number = || text.trim().parse::<f64>().ok().filter(|number| *number >= 0.0);
    // A cast from a float saturates.
    text.trim().parse().ok().or_else(|| number().map(|number| number.ceil() as u64))
}

/// Texts and lists in a list, which are prompts; the tokens of one are none. The list is valid JSON.
pub(crate) fn elements(value: &[u8]) -> u64 {
    if value.first() != Some(&b'[') {
        return 0;
    }
    let (mut depth, mut prompts, mut at) = (0_u64, 0, 0);
    while let Some(&byte) = value.get(at) {
        at += 1;
        match byte {
            b'"' => {
                prompts += u64::from(depth == 1);
                while let Some(found) = memchr::memchr2(b'"', b'\\', &value[at.min(value.len())..]) {
                    let is_end = value[at + found] == b'"';
                    at += found + if is_end { 1 } else { 2 };
                    if is_end {
                        break;
                    }
                }
            }
            b'[' | b'{' => {
                prompts += u64::from(depth == 1);
                depth += 1;
            }
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    prompts
}

#[cfg(test)]
mod tests {
    use crate::scan::scan;

    fn total(body: &str) -> Option<u64> {
        scan(body.as_bytes()).unwrap().max_output
    }

    #[test]
    fn the_largest_limit_counts_under_any_name() {
        for (body, expected) in [
            (r#"{"max_tokens":5,"max_completion_tokens":7}"#, Some(7)),
            (r#"{"max_output_tokens":9,"max_tokens":1}"#, Some(9)),
            (r#"{"max_tokens":9,"max_tokens":1}"#, Some(9)),
            (r#"{"generationConfig":{"maxOutputTokens":100,"candidateCount":3}}"#, Some(300)),
            (r#"{"options":{"num_predict":12}}"#, Some(12)),
            (r#"{"max_t\u006fkens":"20"}"#, Some(20)),
            (r#"{"max_tokens":2e3}"#, Some(2000)),
            (r#"{"max_tokens":-1}"#, None),
            (r#"{"max_tokens":null,"generationConfig":null}"#, None),
            (r#"{"messages":[]}"#, None),
            (r#"{"max_tokens":18446744073709551616}"#, Some(u64::MAX)),
        ] {
            assert_eq!(total(body), expected, "{body}");
        }
    }

    #[test]
    fn several_answers_to_several_prompts_each_may_be_as_long() {
        for (body, expected) in [
            (r#"{"max_tokens":5,"n":3}"#, 15),
            (r#"{"n":2,"best_of":4,"max_tokens":5}"#, 20),
            (r#"{"max_tokens":5,"n":0}"#, 5),
            (r#"{"max_tokens":5,"prompt":["a","b\"]","c"],"n":2}"#, 30),
            (r#"{"max_tokens":5,"prompt":[[1,2],[3]]}"#, 10),
            (r#"{"max_tokens":5,"prompt":[1,2,3]}"#, 5),
            (r#"{"max_tokens":5,"prompt":"a"}"#, 5),
            (r#"{"max_tokens":9223372036854775807,"n":9}"#, u64::MAX),
        ] {
            assert_eq!(total(body), Some(expected), "{body}");
        }
    }
}
