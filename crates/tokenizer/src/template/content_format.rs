//! The form in which a template takes contents: vLLM hands lists of parts to templates that loop over them, and texts to all
//! others.
//!
//! A template loops over a message's content where the loop is over `content` of a variable that a loop over `messages` sets. vLLM
//! after 0.18 has any loop over a variable of the name `content` be one, too.

use std::{collections::BTreeSet, sync::LazyLock};

use regex::Regex;

/// Form of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentForm {
    Texts,
    Parts,
}

/// Forms in which engines may hand contents to a template: one, or those of older and of later versions.
pub(super) fn content_forms(source: &str) -> &'static [ContentForm] {
    let Some(expressions) = &*EXPRESSIONS else { return &[ContentForm::Texts] };
    let source = expressions.comment.replace_all(source, "");
    let statements = Statements::new(expressions, &source);
    if statements.have_content_loop() {
        return &[ContentForm::Parts];
    }
    match statements.loops.iter().any(|(_, over)| *over == "content") {
        true => &[ContentForm::Parts, ContentForm::Texts],
        false => &[ContentForm::Texts],
    }
}

struct Expressions {
    comment: Regex,
    set: Regex,
    repeat: Regex,
    /// A variable, or a member of one, or some of either: with slices, filters and tests.
    access: Regex,
}

static EXPRESSIONS: LazyLock<Option<Expressions>> = LazyLock::new(|| {
    let new = |expression: &str| Regex::new(expression).ok();
    let some = r"(?:\s*\[[^\[\]]*:[^\[\]]*\]|\s*\|\s*\w+(?:\s*\([^()]*\))?|\s+is\s+(?:not\s+)?\w+(?:\s*\([^()]*\))?)*";
    let member = r#"(?:\s*\.\s*(\w+)|\s*\[\s*['"](\w+)['"]\s*\])?"#;
    Some(Expressions {
        comment: new(r"(?s)\{#.*?#\}")?,
        set: new(r"(?s)\{%[-+]?\s*set\s+(\w+)\s*=\s*(.*?)\s*[-+]?%\}")?,
        repeat: new(r"(?s)\{%[-+]?\s*for\s+(\w+)\s+in\s+(.*?)(?:\s+if\s.*?)?(?:\s+recursive)?\s*[-+]?%\}")?,
        access: new(&format!(r"(?s)^(\w+){member}{some}$"))?,
    })
});

/// Assignments and loops of a template: the variable, and what it is set to or goes over.
struct Statements<'s> {
    expressions: &'s Expressions,
    sets: Vec<(&'s str, &'s str)>,
    loops: Vec<(&'s str, &'s str)>,
}

impl<'s> Statements<'s> {
    fn new(expressions: &'s Expressions, source: &'s str) -> Self {
        let all = |regex: &Regex| {
            let found = regex.captures_iter(source);
            found.filter_map(|found| Some((found.get(1)?.as_str(), found.get(2)?.as_str()))).collect()
        };
        Self { expressions, sets: all(&expressions.set), loops: all(&expressions.repeat) }
    }

    fn have_content_loop(&self) -> bool {
        let mut messages = BTreeSet::from(["messages"]);
        loop {
            let known = messages.len();
            let others = self.sets.iter().filter(|(_, value)| self.is_of(value, &messages, None));
            let others: Vec<&str> = others.map(|(name, _)| *name).collect();
            messages.extend(others);
            if messages.len() == known {
                break;
            }
        }
        let message = self.loops.iter().filter(|(_, over)| self.is_of(over, &messages, None)).map(|(name, _)| *name).collect();
        self.loops.iter().any(|(_, over)| self.is_of(over, &message, Some("content")))
    }

    /// Whether an expression is one of these variables, or the member of one.
    fn is_of(&self, expression: &str, variables: &BTreeSet<&str>, member: Option<&str>) -> bool {
        let Some(found) = self.expressions.access.captures(expression) else { return false };
        let found_member = found.get(2).or(found.get(3)).map(|name| name.as_str());
        found.get(1).is_some_and(|name| variables.contains(name.as_str())) && found_member == member
    }
}

#[cfg(test)]
mod tests {
    use super::{ContentForm::*, *};

    #[test]
    fn a_template_that_loops_over_a_message_s_content_takes_parts() {
        let messages = |inner: &str| content_forms(&format!("{{% for message in messages %}}{inner}{{% endfor %}}")).to_vec();
        assert_eq!(messages("{% for part in message['content'] %}"), [Parts]);
        assert_eq!(messages("{%- for part in message.content | selectattr('type', 'equalto', 'text') -%}"), [Parts]);
        assert_eq!(messages("{% for part in message.content[1:] if part.text %}"), [Parts]);
        assert_eq!(messages("{% for part in message.parts %}"), [Texts]);
        assert_eq!(messages("{{ message['content'] }}"), [Texts]);
        assert_eq!(messages("{# {% for part in message.content %} #}"), [Texts]);
        let aliased = "{% set loop_messages = messages[1:] %}{% set rest = loop_messages %}\
            {% for m in rest | reject('none') %}{% for part in m.content %}";
        assert_eq!(content_forms(aliased), [Parts]);
        assert_eq!(content_forms("{% for part in message.content %}"), [Texts], "no loop over messages sets it");
        assert_eq!(content_forms("{% for m in messages[0] %}{% for part in m.content %}"), [Texts]);
    }

    #[test]
    fn versions_differ_in_a_loop_over_a_variable_named_content() {
        let macros = "{% macro render(content) %}{% for item in content %}{{ item }}{% endfor %}{% endmacro %}";
        assert_eq!(content_forms(macros), [Parts, Texts]);
        let set = "{% for m in messages %}{% set content = m.content %}{% for item in content %}";
        assert_eq!(content_forms(set), [Parts, Texts]);
        assert_eq!(content_forms("{% for item in content | list %}"), [Texts]);
        assert_eq!(content_forms("{% for item in contents %}"), [Texts]);
    }
}
