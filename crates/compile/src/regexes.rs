//! Regular expressions of users: bounded in size, errors named by field.

use regex::{Regex, RegexBuilder};

use crate::status::Problem;

/// The most memory that one compiled expression may take, bytes.
const MAX_SIZE: usize = 1 << 20;

/// An expression that has to match the whole value.
pub(crate) fn anchored(field: &str, pattern: &str) -> Result<Regex, Problem> {
    // By itself first: `a)|(b` must not become legal by being put into a group.
    part(field, pattern)?;
    build(field, &format!("^(?:{pattern})$"))
}

/// An expression that may match anywhere.
pub(crate) fn part(field: &str, pattern: &str) -> Result<Regex, Problem> {
    build(field, pattern)
}

fn build(field: &str, pattern: &str) -> Result<Regex, Problem> {
    RegexBuilder::new(pattern).size_limit(MAX_SIZE).dfa_size_limit(MAX_SIZE).build().map_err(|error| {
        let reason = match error {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            other => last_line(&other.to_string()),
        };
        Problem::accepted("UnsupportedValue", format!("{field}: the regular expression cannot be used: {reason}"))
    })
}

/// The library draws the expression with a mark beneath; the last line says what is wrong.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned()
}
