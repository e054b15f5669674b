//! Errors in an input.

use std::fmt;

use super::{MAX_ERRORS, MAX_INPUT, MAX_OBJECTS};

/// Something wrong with an input, one of its documents, or one field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// The input's name: a path, or `-`.
    pub origin: String,
    /// The line of the field where it is known, else of the document, from 1.
    pub line: Option<usize>,
    /// `apiVersion` as written.
    pub api_version: Option<String>,
    /// `kind` as written.
    pub kind: Option<String>,
    /// `metadata.namespace` as written.
    pub namespace: Option<String>,
    /// `metadata.name` as written.
    pub name: Option<String>,
    /// The field, such as `spec.rules[0].matches[1].path.value`.
    pub path: Option<String>,
    /// The problem.
    pub problem: Problem,
}

impl ParseError {
    pub(super) fn of_input(origin: &str, problem: Problem) -> ParseError {
        ParseError {
            origin: origin.to_owned(),
            line: None,
            api_version: None,
            kind: None,
            namespace: None,
            name: None,
            path: None,
            problem,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match (&self.kind, &self.namespace, &self.name) {
            (Some(kind), Some(namespace), Some(name)) => write!(f, ": {kind} {namespace}/{name}")?,
            (Some(kind), None, Some(name)) => write!(f, ": {kind} {name}")?,
            (Some(kind), _, None) => write!(f, ": {kind}")?,
            (None, _, _) => {}
        }
        if let Some(path) = &self.path {
            write!(f, ": {path}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// The problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The input has too many bytes.
    #[error("{bytes} bytes are too many: an input may have {MAX_INPUT}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The input has too many objects; the first ones were read.
    #[error("too many objects: an input may have {MAX_OBJECTS}; the rest was not read")]
    TooManyObjects,
    /// There are more errors than are reported.
    #[error("more than {MAX_ERRORS} errors: the rest is not shown")]
    TooManyErrors,
    /// The input is not text.
    #[error("not UTF-8 text (the first wrong byte is at offset {offset})")]
    NotUtf8 {
        /// Offset of the first wrong byte.
        offset: usize,
    },
    /// A document is not valid YAML.
    #[error("not valid YAML: {0}")]
    Yaml(String),
    /// A document is not valid JSON.
    #[error("not valid JSON: {0}")]
    Json(String),
    /// A document that may hold a secret is not valid; nothing of it is quoted.
    #[error("not valid YAML or JSON (the document mentions a Secret, so nothing of it is shown here)")]
    Unshown,
    /// A document is no mapping.
    #[error("expected a Kubernetes object (a mapping with apiVersion, kind and metadata), found {0}")]
    NotAnObject(&'static str),
    /// There is a list, or nothing, where one object belongs.
    #[error("expected exactly one Kubernetes object")]
    NotOneObject,
    /// A field that every object needs is absent.
    #[error("required, but missing")]
    Missing,
    /// The kind is not known.
    #[error("unknown kind {kind:?} in apiVersion {api_version:?}{hint}")]
    UnknownKind {
        /// `apiVersion` as written.
        api_version: String,
        /// `kind` as written.
        kind: String,
        /// Near names, as the end of the sentence.
        hint: String,
    },
    /// The kind is known, in other versions.
    #[error("{kind} is not served as {api_version:?}: write {served}")]
    UnknownVersion {
        /// `apiVersion` as written.
        api_version: String,
        /// The kind.
        kind: &'static str,
        /// The versions that are served.
        served: String,
    },
    /// A value has the wrong type, or a required field is absent.
    #[error("{0}")]
    Value(String),
    /// A value of a Secret has the wrong type; it is not quoted.
    #[error("the value does not fit this field of a Secret (data: base64 text; stringData: text); it is not shown here")]
    SecretValue,
    /// A policy that guards has a field that its kind does not have.
    #[error("there is no such field{hint}; a policy that guards is enforced whole or not at all")]
    UnknownField {
        /// A near name, as the end of the sentence.
        hint: String,
    },
    /// The object breaks a rule of its kind.
    #[error("{0}")]
    Rule(String),
    /// Lists stand in lists.
    #[error("a List in a List in a List is not read")]
    NestedList,
}
