//! Every object's conditions as data: what `check -o json` prints and `/status` answers.

use std::collections::BTreeMap;

use pailou_api::ObjectKey;
use pailou_compile::status::{Severity, Status, Statuses};
use pailou_proxy::endpoint_health::{EndpointHealth, EndpointLabels};
use pailou_snapshot::{EndpointKey, Name};
use serde::Serialize;

use crate::{
    source::{Problem, Strictness},
    troubled::{Condition, TroubledEndpoint, engine_metrics, list},
};

/// The whole configuration. No values of objects are in it, thus no secrets.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    /// Whether every document was read and nothing of any object fails.
    pub(crate) accepted: bool,
    objects: Vec<Entry<'a>>,
    problems: Vec<FileProblem<'a>>,
    /// Endpoints without requests, and engines without metrics, of this process.
    #[serde(rename = "troubledEndpoints", skip_serializing_if = "Option::is_none")]
    endpoints: Option<Vec<TroubledEndpoint>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    name: &'a str,
    accepted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a Status>,
    /// Conditions that hold in this process, and are not part of the object's status.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
struct FileProblem<'a> {
    place: String,
    level: &'static str,
    message: &'a str,
}

impl<'a> Document<'a> {
    /// Conditions of all objects, and problems of their files, which count as `strictness` has it.
    pub(crate) fn new(statuses: &'a Statuses, problems: &'a [Problem], strictness: Strictness) -> Self {
        let is_refused = |problem: &Problem| problem.level.severity(strictness) == Severity::Error;
        let objects: Vec<Entry<'a>> = statuses.iter().map(|(key, status)| entry(key, status)).collect();
        Self {
            accepted: objects.iter().all(|entry| entry.accepted) && !problems.iter().any(is_refused),
            objects,
            problems: problems.iter().map(file_problem).collect(),
            endpoints: None,
        }
    }

    /// Adds the endpoints that have trouble, and a condition to each InferencePool of theirs whose engines' metrics cannot be read.
    pub(crate) fn with_endpoints(mut self, endpoints: &BTreeMap<EndpointLabels, EndpointHealth>) -> Self {
        for pool in self.objects.iter_mut().filter(|entry| entry.kind == "InferencePool") {
            let key = EndpointKey::Pool(Name::new(pool.namespace, pool.name));
            pool.conditions.extend(engine_metrics(&key.to_string(), endpoints));
        }
        self.endpoints = Some(list(endpoints));
        self
    }

    /// How many objects there are, and how many of them are accepted.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.objects.len(), self.objects.iter().filter(|entry| entry.accepted).count())
    }
}

fn entry<'a>(key: &'a ObjectKey, status: &'a Status) -> Entry<'a> {
    Entry {
        group: &key.group,
        kind: &key.kind,
        namespace: &key.namespace,
        name: &key.name,
        accepted: status.severity() < Severity::Error,
        status: Some(status).filter(|status| !status.conditions().is_empty()),
        conditions: Vec::new(),
        notes: status.notes.iter().map(|note| note.message.as_str()).collect(),
    }
}

fn file_problem(problem: &Problem) -> FileProblem<'_> {
    FileProblem { place: problem.place(), level: problem.level.name(), message: &problem.message }
}
