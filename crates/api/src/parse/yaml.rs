//! YAML documents as JSON values, as Kubernetes reads them.

use serde_json::Value;
use serde_saphyr::{Options, alias_limits, budget, options};

use super::decode::{Source, decode};
use super::error::{ParseError, Problem};
use super::{Reader, documents, locate};

/// Reads every document of a stream.
pub(super) fn read(text: &str, reader: &mut Reader<'_>) {
    for document in documents::split(text) {
        if !reader.has_room() {
            return;
        }
        match value(document.text) {
            Ok(value) => {
                let find_line = |path: &str| locate::line_of(document.text, path).map(|line| document.line + line - 1);
                decode(value, &Source { line: document.line, find_line: &find_line }, reader);
            }
            Err(error) => {
                let line = error.location().and_then(|at| usize::try_from(at.line()).ok()).unwrap_or(1);
                let problem = if super::may_hold_secret(document.text) { Problem::Unshown } else { Problem::Yaml(message(&error)) };
                let line = Some(document.line + line.max(1) - 1);
                reader.fail(ParseError { line, ..ParseError::of_input(reader.origin, problem) });
            }
        }
    }
}

/// Bounds for one document: its depth, and what its aliases may unfold to.
pub(super) fn limits() -> Options {
    options! {
        budget: budget! {
            max_depth: 64,
            max_nodes: 2_000_000,
            max_events: 4_000_000,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_documents: 1,
        },
        alias_limits: alias_limits! {
            max_total_replayed_events: 100_000,
            max_replay_stack_depth: 16,
            max_alias_expansions_per_anchor: 1_000,
        },
        // Kubernetes reads YAML 1.1's 0755 as octal, which is 493 in JSON.
        legacy_octal_numbers: true,
        // A snippet of the input in an error could show a credential.
        with_snippet: false,
    }
}

/// One document as a value.
///
/// # Errors
/// Why it is no YAML, without a part of it.
pub(super) fn checked_value(text: &str) -> Result<Value, String> {
    value(text).map_err(|error| message(&error))
}

fn value(text: &str) -> Result<Value, serde_saphyr::Error> {
    serde_saphyr::from_str_with_options(text, limits())
}

/// The error without its position, which counts from the document's beginning and not the input's.
fn message(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or_default();
    let end = text.find(" at line ").unwrap_or(text.len());
    // The library's advice is to its callers, not to users.
    let text = text[..end].trim_end_matches([' ', ',', ':']);
    let text = text.split(", set DuplicateKeyPolicy").next().unwrap_or(text);
    // `cat *.yaml` makes such a document of files that do not begin with a separator.
    let hint = if text == "duplicate mapping key: apiVersion" { ": is a `---` missing between two objects?" } else { "" };
    format!("{text}{hint}")
}
