//! Fields that a kind does not have.

use std::fmt;

use super::path::Path;
use super::suggest;

/// A field that the object's kind does not have: it has no effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownField {
    /// Its path, such as `spec.rules[0].matchs`.
    pub path: String,
    /// A name that its place has, if one resembles its own.
    pub meant: Option<&'static str>,
    /// Its line, from 1; 0 where there is no file.
    pub line: usize,
}

impl UnknownField {
    /// A field at a path whose place has the `known` ones.
    pub(super) fn at(path: Path<'_>, known: &[&'static str]) -> Self {
        let meant = match path {
            Path::Field(_, name) => suggest::field(name, known),
            Path::Root(_) | Path::Item(..) => None,
        };
        Self { path: path.to_string(), meant, line: 0 }
    }

    /// A field by its path alone.
    pub(super) fn named(path: impl Into<String>) -> Self {
        Self { path: path.into(), meant: None, line: 0 }
    }
}

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: there is no such field", self.path)?;
        self.meant.map_or(Ok(()), |meant| write!(f, ": did you mean {meant}?"))
    }
}
