//! Field paths in the form `spec.rules[0].name`.

use std::fmt;

/// Path of a value, as a list from there to the root.
#[derive(Clone, Copy)]
pub(super) enum Path<'p> {
    /// At this path, which may be empty.
    Root(&'p str),
    /// In a field of an object.
    Field(&'p Path<'p>, &'p str),
    /// In an item of a list, counted from 0.
    Item(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(root) => f.write_str(root),
            Self::Field(Self::Root(""), name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, place) => write!(f, "{parent}[{place}]"),
        }
    }
}

/// Puts two paths together; either may be empty.
pub(super) fn join(root: &str, rest: &str) -> String {
    match (root.is_empty(), rest.is_empty() || rest == ".") {
        (_, true) => root.to_owned(),
        (true, false) => rest.to_owned(),
        (false, false) if rest.starts_with('[') => format!("{root}{rest}"),
        (false, false) => format!("{root}.{rest}"),
    }
}
