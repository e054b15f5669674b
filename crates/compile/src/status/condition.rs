//! Conditions, and what is wrong before it has become one.

use serde::Serialize;

/// One condition of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// `Accepted`, `Programmed`, `ResolvedRefs` and so on.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in a word that programs read.
    pub reason: &'static str,
    /// Why, in words for people: what is wrong, and what to do.
    pub message: String,
    /// `metadata.generation` of the object that was looked at.
    pub observed_generation: i64,
    /// The object is served all the same, as it asks for itself: no error, even if the condition does not hold.
    #[serde(skip)]
    pub is_tolerated: bool,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows yet.
    Unknown,
}

/// How bad a condition is for whoever applied the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As asked.
    Fine,
    /// Served, but not all of it as asked.
    Warning,
    /// Not served as asked.
    Error,
}

impl Severity {
    /// Its word in output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fine => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Condition {
    /// A condition that holds; its reason is the type, as Gateway API mostly has it.
    pub(crate) fn fine(kind: &'static str, generation: i64) -> Self {
        Self::holds(kind, kind, String::new(), generation)
    }

    /// A condition that holds, with a reason of its own.
    pub(crate) fn holds(kind: &'static str, reason: &'static str, message: impl Into<String>, generation: i64) -> Self {
        let message = message.into();
        Self { kind, status: ConditionStatus::True, reason, message, observed_generation: generation, is_tolerated: false }
    }

    /// A condition that does not hold.
    pub(crate) fn fails(kind: &'static str, reason: &'static str, message: impl Into<String>, generation: i64) -> Self {
        Self { status: ConditionStatus::False, ..Self::holds(kind, reason, message, generation) }
    }

    /// The condition of this type: fine, unless one of the problems is about it. The first problem gives the reason, all give
    /// the message.
    pub(crate) fn summary(kind: &'static str, problems: &[Problem], generation: i64) -> Self {
        let mut concerned = problems.iter().filter(|problem| problem.condition == kind);
        let Some(first) = concerned.next() else { return Self::fine(kind, generation) };
        let mut message = first.message.clone();
        for problem in concerned {
            message.push_str("; ");
            message.push_str(&problem.message);
        }
        Self::fails(kind, first.reason, message, generation)
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match (self.kind, self.status) {
            ("Conflicted", ConditionStatus::True) => Severity::Error,
            ("Conflicted", _) => Severity::Fine,
            (
                "PartiallySupported" | "Overridden" | "ReplacesGatewaySettings" | "InsecureFrontendValidationMode" | "Aggregated",
                ConditionStatus::True,
            ) => Severity::Warning,
            (_, ConditionStatus::True) => Severity::Fine,
            ("SupportedVersion", _) | (_, ConditionStatus::Unknown) => Severity::Warning,
            (_, ConditionStatus::False) if self.is_tolerated => Severity::Warning,
            (_, ConditionStatus::False) => Severity::Error,
        }
    }
}

/// Something wrong with an object: the condition it makes false, and with what reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Problem {
    pub(crate) condition: &'static str,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Problem {
    /// The object cannot be taken as it is.
    pub(crate) fn accepted(reason: &'static str, message: impl Into<String>) -> Self {
        Self { condition: "Accepted", reason, message: message.into() }
    }

    /// Something that the object refers to cannot be had.
    pub(crate) fn refs(reason: &'static str, message: impl Into<String>) -> Self {
        Self { condition: "ResolvedRefs", reason, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_problem_names_the_reason_and_all_are_told() {
        let problems = [
            Problem::refs("BackendNotFound", "a is missing"),
            Problem::accepted("UnsupportedValue", "b is odd"),
            Problem::refs("InvalidKind", "c is no backend"),
        ];
        let condition = Condition::summary("ResolvedRefs", &problems, 3);
        assert_eq!((condition.status, condition.reason), (ConditionStatus::False, "BackendNotFound"));
        assert_eq!(condition.message, "a is missing; c is no backend");
        assert_eq!(Condition::summary("Programmed", &problems, 3), Condition::fine("Programmed", 3));
    }
}
