//! A printed form of values that a new field leaves as it is: fields without a value are left out, and so are those of a default.

use std::fmt::Debug;

/// A value on one line, without fields that are `None`, `false` or empty.
pub(crate) fn printed(value: &impl Debug) -> String {
    Node::of(value).text()
}

/// A value on one line, without fields that are as in the default.
pub(crate) fn changed<T: Debug + Default>(value: &T) -> String {
    let default = Node::of(&T::default());
    let mut node = Node::of(value);
    node.parts.retain(|part| !default.parts.contains(part));
    // A field that has no value, and would have one by default, is a change.
    node.with(node.parts.iter())
}

/// A value, a field or an item of a list, as `{:#?}` writes it.
#[derive(PartialEq)]
struct Node {
    head: String,
    parts: Vec<Node>,
    tail: String,
}

impl Node {
    fn of(value: &impl Debug) -> Self {
        let text = format!("{value:#?}");
        let mut lines = text.lines();
        Self::read(lines.next().unwrap_or_default(), &mut lines)
    }

    fn read<'a>(first: &str, lines: &mut impl Iterator<Item = &'a str>) -> Self {
        let first = first.trim();
        let mut parts = Vec::new();
        let mut tail = String::new();
        if first.ends_with(['{', '[', '(']) {
            while let Some(line) = lines.next() {
                if line.trim().starts_with(['}', ']', ')']) {
                    tail = line.trim().trim_end_matches(',').to_owned();
                    break;
                }
                parts.push(Self::read(line, lines));
            }
        }
        Self { head: first.trim_end_matches(',').to_owned(), parts, tail }
    }

    fn is_empty(&self) -> bool {
        let field = self.head.split_once(": ").map(|(_, value)| value);
        self.parts.is_empty() && field.is_some_and(|value| ["None", "false", "[]", "{}", "\"\""].contains(&value))
    }

    fn text(&self) -> String {
        self.with(self.parts.iter().filter(|part| !part.is_empty()))
    }

    fn with<'n>(&self, parts: impl Iterator<Item = &'n Self>) -> String {
        let parts: Vec<_> = parts.map(Self::text).collect();
        let space = if self.tail == "}" && !parts.is_empty() { " " } else { "" };
        format!("{}{space}{}{space}{}", self.head, parts.join(", "), self.tail)
    }
}

#[test]
fn fields_without_a_value_are_left_out() {
    #[derive(Debug, Default)]
    #[expect(dead_code, reason = "only Debug reads the fields")]
    struct Sample {
        name: Option<&'static str>,
        list: Vec<(u8, bool)>,
        count: usize,
    }
    assert_eq!(printed(&Sample::default()), "Sample { count: 0 }");
    let sample = Sample { name: Some("a"), list: vec![(1, false)], count: 0 };
    assert_eq!(printed(&sample), "Sample { name: Some(\"a\"), list: [(1, false)], count: 0 }");
    assert_eq!(changed(&sample), "Sample { name: Some(\"a\"), list: [(1, false)] }");
    assert_eq!(printed(&[Some(1), None]), "[Some(1), None]");
}
