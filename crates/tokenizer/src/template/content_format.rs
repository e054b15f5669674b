//! The form in which a template takes contents: vLLM hands lists of parts to templates that loop over them, and texts to all others.

use std::collections::HashSet;

use regex::Regex;

/// Whether a template loops over a message's content.
pub(super) fn takes_parts(source: &str) -> bool {
    let of_message = r#"\w+(?:\.content\b|\[\s*['"]content['"]\s*\])"#;
    let (Ok(set), Ok(looped)) = (
        Regex::new(&format!(r"set\s+(\w+)\s*=\s*{of_message}\s*[-+]?%\}}")),
        Regex::new(&format!(r"for\s+\w+\s+in\s+(?:({of_message})|(\w+))\s*(?:[-+]?%\}}|\bif\b)")),
    ) else {
        return false;
    };
    let names: HashSet<&str> = set.captures_iter(source).filter_map(|found| Some(found.get(1)?.as_str())).collect();
    looped.captures_iter(source).any(|found| found.get(1).is_some() || found.get(2).is_some_and(|it| names.contains(it.as_str())))
}

#[cfg(test)]
mod tests {
    use super::takes_parts;

    #[test]
    fn a_template_that_loops_over_a_content_takes_parts() {
        assert!(takes_parts("{% for part in message['content'] %}"));
        assert!(takes_parts("{%- for part in message.content -%}"));
        assert!(takes_parts("{% set content = message.content %}{% for item in content %}"));
        assert!(!takes_parts("{% for message in messages %}{{ message['content'] }}{% endfor %}"));
        assert!(!takes_parts("{% set content = message.content | trim %}{% for item in items %}"));
    }
}
