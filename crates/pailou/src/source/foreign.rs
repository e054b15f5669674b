//! Objects of other kinds in the files, a problem for each kind of each file.

use std::collections::BTreeMap;

use pailou_api::parse::ForeignObject;

use super::problem::{Level, Problem};

/// One problem for all objects of a kind.
pub(super) fn problems(origin: &str, objects: &[ForeignObject]) -> Vec<Problem> {
    let mut kinds: BTreeMap<(&str, &str), Vec<&ForeignObject>> = BTreeMap::new();
    for object in objects {
        kinds.entry((&object.api_version, &object.kind)).or_default().push(object);
    }
    let mut problems: Vec<_> = kinds.into_values().map(|objects| problem(origin, &objects)).collect();
    problems.sort_by_key(|problem| problem.line);
    problems
}

fn problem(origin: &str, objects: &[&ForeignObject]) -> Problem {
    let first = objects[0];
    let ForeignObject { api_version, kind, .. } = first;
    let subject = match (objects.len(), &first.namespace, &first.name) {
        (1, Some(namespace), Some(name)) => format!("{kind} {namespace}/{name} ({api_version})"),
        (1, None, Some(name)) => format!("{kind} {name} ({api_version})"),
        (1, _, None) => format!("{kind} ({api_version})"),
        (count, ..) => format!("{count} objects of kind {kind} ({api_version})"),
    };
    let (message, level) = match first.advice {
        Some(advice) => (format!("{subject}: not served: {advice}"), Level::Unserved),
        None => (format!("{subject}: skipped: the gateway does not read this kind"), Level::Skipped),
    };
    Problem { origin: origin.to_owned(), line: Some(first.line), message, level }
}
