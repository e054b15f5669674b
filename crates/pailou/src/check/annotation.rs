//! Everything that is not as asked, with its place in the files.

use pailou_compile::{
    status::{Finding, Severity},
    store::Entry,
};

use super::judged::Judged;
use crate::{
    printable::Printable,
    source::{Problem, Strictness},
};

/// A remark on a place in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Annotation {
    /// Its severity.
    pub(super) severity: Severity,
    /// Name of the rule, such as `ResolvedRefs/BackendNotFound` or `unknown-field`.
    pub(super) rule: String,
    /// The file, or `-` for standard input; empty where there is none.
    pub(super) file: String,
    /// The line, from 1; `None` if it is not known.
    pub(super) line: Option<usize>,
    /// Problem and remedy, with the object's name, in printable characters.
    pub(super) message: String,
}

/// All remarks: of the files first, then of the objects.
pub(super) fn all(judged: &Judged, strictness: Strictness) -> Vec<Annotation> {
    let of_files = judged.problems.iter().map(|problem| of_problem(problem, strictness));
    let of_objects = judged.statuses.problems().into_iter().map(|finding| of_finding(judged, &finding)).collect::<Vec<_>>();
    of_files.chain(of_objects).collect()
}

fn of_problem(problem: &Problem, strictness: Strictness) -> Annotation {
    Annotation {
        severity: problem.level.severity(strictness),
        rule: format!("file/{}", problem.level.name()),
        file: problem.origin.clone(),
        line: problem.line,
        message: Printable(&problem.message).to_string(),
    }
}

fn of_finding(judged: &Judged, finding: &Finding<'_>) -> Annotation {
    let entry = judged.objects.entry(finding.object);
    let part = if finding.part.is_empty() { String::new() } else { format!(" ({})", finding.part) };
    Annotation {
        severity: finding.severity,
        rule: finding.condition.map_or_else(|| "note".to_owned(), |it| format!("{}/{}", it.kind, it.reason)),
        file: entry.map_or_else(String::new, |entry| entry.origin.to_string()),
        line: entry.and_then(Entry::line),
        message: Printable(format_args!("{}{part}: {}", finding.object, finding.message)).to_string(),
    }
}
