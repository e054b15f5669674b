//! Problems of files, and how bad each is.

use std::{fmt, io, path::Path};

use pailou_compile::status::Severity;

/// Something that is wrong with the files, or worth a remark.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// A path, or a flag.
    pub(crate) origin: String,
    /// The line in a file, from 1, if known.
    pub(crate) line: Option<usize>,
    /// Description.
    pub(crate) message: String,
    /// Its level.
    pub(crate) level: Level,
}

/// Levels of a [`Problem`], from a remark to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// An object that counts as there.
    Assumed,
    /// An object of somebody else's kind.
    Skipped,
    /// An object of a kind that configures another gateway.
    Unserved,
    /// Something that has no effect, or that nobody can use.
    Warning,
    /// A file or directory that is gone or empty: what came from it before holds.
    Gone,
    /// A field that is not there in the API: it has no effect.
    UnknownField,
    /// A document is not accepted.
    Rejected,
    /// A file cannot be read.
    Unreadable,
}

/// Severity of what a gateway can serve without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strictness {
    /// Kinds that are not the gateway's.
    pub(crate) is_foreign_refused: bool,
    /// Fields that a kind does not have.
    pub(crate) is_unknown_field_refused: bool,
}

impl Strictness {
    /// A gateway that serves goes on with what it can.
    pub(crate) const SERVING: Self = Self { is_foreign_refused: false, is_unknown_field_refused: false };
}

impl Level {
    /// Its severity under this strictness.
    pub(crate) fn severity(self, strictness: Strictness) -> Severity {
        match self {
            Self::Skipped | Self::Unserved if strictness.is_foreign_refused => Severity::Error,
            Self::Assumed | Self::Skipped => Severity::Fine,
            Self::UnknownField if strictness.is_unknown_field_refused => Severity::Error,
            Self::Unserved | Self::Warning | Self::Gone | Self::UnknownField => Severity::Warning,
            Self::Rejected | Self::Unreadable => Severity::Error,
        }
    }

    /// The word for programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Assumed => "assumed",
            Self::Skipped => "skipped",
            Self::Unserved => "unserved",
            Self::Warning => "warning",
            Self::Gone => "gone",
            Self::UnknownField => "ignored",
            Self::Rejected => "rejected",
            Self::Unreadable => "unreadable",
        }
    }
}

impl Problem {
    /// A file or directory that cannot be read.
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        let message = format!("cannot be read: {error}; what came from it before still holds");
        Self { origin: path.display().to_string(), line: None, message, level: Level::Unreadable }
    }

    /// A file or directory whose earlier content stays in force: it was renamed or removed, or cannot be read.
    pub(super) fn kept(path: &Path, error: &io::Error) -> Self {
        if error.kind() != io::ErrorKind::NotFound {
            return Self::unreadable(path, error);
        }
        let message = "is gone; what came from it before holds until it is back".to_owned();
        Self { origin: path.display().to_string(), line: None, message, level: Level::Gone }
    }

    /// A Secret's file that holds nothing any more.
    pub(super) fn emptied(path: &Path) -> Self {
        let message = "is empty; the value that it had before holds".to_owned();
        Self { origin: path.display().to_string(), line: None, message, level: Level::Gone }
    }

    /// Place: a path, with a line if known.
    pub(crate) fn place(&self) -> String {
        match self.line {
            Some(line) => format!("{}:{line}", self.origin),
            None => self.origin.clone(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place(), self.message)
    }
}
