//! SARIF 2.1.0 (OASIS): annotations for tools of code scanning.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::annotation::Annotation;

/// The document.
pub(super) fn document(annotations: &[Annotation]) -> Value {
    let rules: BTreeSet<&str> = annotations.iter().map(|it| it.rule.as_str()).collect();
    let rules: Vec<_> = rules.into_iter().map(|id| json!({ "id": id })).collect();
    let results: Vec<_> = annotations.iter().map(result).collect();
    let driver = json!({ "name": "pailou check", "version": env!("CARGO_PKG_VERSION"), "rules": rules });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{ "tool": { "driver": driver }, "results": results }],
    })
}

fn result(annotation: &Annotation) -> Value {
    let Annotation { severity, rule, file, line, message } = annotation;
    let mut result = json!({ "ruleId": rule, "level": severity.name(), "message": { "text": message } });
    if !file.is_empty() {
        let mut place = json!({ "artifactLocation": { "uri": uri(file) } });
        if let Some(line) = line {
            place["region"] = json!({ "startLine": line });
        }
        result["locations"] = json!([{ "physicalLocation": place }]);
    }
    result
}

/// A path as a URI reference: characters that would end or change it are escaped (RFC 3986).
fn uri(path: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&byte);
    let mut uri = String::with_capacity(path.len());
    for byte in path.trim_start_matches("./").bytes() {
        match is_plain(byte) {
            true => uri.push(char::from(byte)),
            false => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use pailou_compile::status::Severity;

    use super::*;

    #[test]
    fn a_result_has_its_place() {
        let annotation = Annotation {
            severity: Severity::Warning,
            rule: "file/skipped".to_owned(),
            file: "./a b.yaml".to_owned(),
            line: Some(7),
            message: "m".to_owned(),
        };
        let document = document(&[annotation]);
        let run = &document["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"], json!([{ "id": "file/skipped" }]));
        let place = &run["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!((&place["artifactLocation"]["uri"], &place["region"]["startLine"]), (&json!("a%20b.yaml"), &json!(7)));
        assert_eq!(run["results"][0]["level"], "warning");
    }
}
