//! The line of a field, found again once an error names it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// The line (from 1, within the document) of the deepest field of `path` that is there.
pub(super) fn line_of(document: &str, path: &str) -> Option<usize> {
    let mut node: Spanned<Node> = serde_saphyr::from_str_with_options(document, super::yaml::limits()).ok()?;
    for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
        let child = match node.value {
            Node::Map(ref mut entries) => entries.iter().position(|(key, _)| key == step).map(|found| entries.swap_remove(found).1),
            Node::Seq(ref mut items) => {
                let index = step.trim_end_matches(']').parse::<usize>().ok();
                index.filter(|index| *index < items.len()).map(|index| items.swap_remove(index))
            }
            Node::Leaf => None,
        };
        match child {
            Some(child) => node = child,
            None => break,
        }
    }
    usize::try_from(node.referenced.line()).ok().filter(|line| *line > 0)
}

/// A document's shape, with the place of every value.
enum Node {
    Map(Vec<(String, Spanned<Node>)>),
    Seq(Vec<Spanned<Node>>),
    Leaf,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::Seq(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            nodes.push(entry);
        }
        Ok(Node::Map(nodes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_path() {
        let text = "kind: A\nspec:\n  rules:\n  - name: a\n  - name: b\n    matches:\n    - path: /x\n";
        assert_eq!(line_of(text, "spec.rules[1].matches[0].path"), Some(7));
        assert_eq!(line_of(text, "spec.rules[1].name"), Some(5));
        assert_eq!(line_of(text, "kind"), Some(1));
    }

    #[test]
    fn an_absent_field_is_found_by_its_parent() {
        let text = "kind: A\nspec:\n  rules:\n  - name: a\n";
        assert_eq!(line_of(text, "spec.rules[0].backendRefs"), Some(4));
        assert_eq!(line_of(text, "spec.rules[7]"), Some(4));
    }
}
