//! Objects of a sample: how many have a problem, and the Gateways of a cluster.

use std::sync::Arc;

use pailou_api::ObjectKey;
use pailou_compile::status::{Condition, ConditionStatus, GatewayStatus, Severity, Status, StatusBody, Statuses};
use parking_lot::Mutex;

use super::{GatewayRow, MAX_POOLS, short};
use crate::source::{Level, Problem};

/// Conditions of a Gateway that a sample names.
const MAX_NAMED: usize = 3;

/// Objects as they were last looked at. Going through thousands is not done for each sample.
#[derive(Default)]
pub(crate) struct ObjectsCache(Mutex<Option<(Arc<Statuses>, Objects)>>);

/// Figures of the objects for a sample.
#[derive(Clone, Default)]
pub(crate) struct Objects {
    /// Objects that are not served as asked, or not all of it.
    pub(crate) problems: usize,
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only controllers show them"))]
    pub(crate) gateways: Vec<GatewayRow>,
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only controllers show them"))]
    pub(crate) gateways_omitted: usize,
}

impl ObjectsCache {
    /// The objects with these statuses.
    pub(crate) fn of(&self, statuses: &Arc<Statuses>) -> Objects {
        let mut last = self.0.lock();
        if let Some((seen, objects)) = &*last
            && Arc::ptr_eq(seen, statuses)
        {
            return objects.clone();
        }
        let objects = read(statuses);
        *last = Some((statuses.clone(), objects.clone()));
        objects
    }
}

/// Problems of files that an operator should know.
pub(crate) fn of_files(problems: &[Problem]) -> usize {
    problems.iter().filter(|problem| problem.level > Level::Skipped).count()
}

fn read(statuses: &Statuses) -> Objects {
    let problems = statuses.iter().filter(|(_, status)| status.severity() > Severity::Fine).count();
    let gateways: Vec<_> = statuses
        .iter()
        .filter_map(|(key, status)| match &status.body {
            StatusBody::Gateway(gateway) if key.kind == "Gateway" => Some((key, status, gateway)),
            _ => None,
        })
        .collect();
    let rows: Vec<_> = gateways.iter().take(MAX_POOLS).map(|(key, status, gateway)| row(key, status, gateway)).collect();
    Objects { problems, gateways_omitted: gateways.len() - rows.len(), gateways: rows }
}

fn row(key: &ObjectKey, status: &Status, gateway: &GatewayStatus) -> GatewayRow {
    let word = |kind: &str| {
        let found = gateway.conditions.iter().find(|condition| condition.kind == kind).map(|condition| condition.status);
        match found {
            Some(ConditionStatus::True) => "True",
            Some(ConditionStatus::False) => "False",
            Some(ConditionStatus::Unknown) | None => "Unknown",
        }
    };
    let lists = status.conditions();
    let bad = lists.iter().flat_map(|(part, conditions)| conditions.iter().map(move |condition| (part, condition)));
    let bad = bad.filter(|(_, condition)| condition.severity() > Severity::Fine);
    let words: Vec<_> = bad.take(MAX_NAMED).map(|(part, condition)| words(part, condition)).collect();
    GatewayRow {
        name: format!("{}/{}", key.namespace, key.name),
        addresses: gateway.addresses.iter().map(|address| address.value.clone()).collect(),
        listeners: gateway.listeners.len(),
        attached_routes: gateway.listeners.iter().map(|listener| listener.attached_routes).sum(),
        accepted: word("Accepted").to_owned(),
        programmed: word("Programmed").to_owned(),
        problem: (!words.is_empty()).then(|| short(words.join("; "))),
    }
}

fn words(part: &str, condition: &Condition) -> String {
    let colon = if part.is_empty() { "" } else { ": " };
    format!("{part}{colon}{} {}: {}", condition.kind, condition.reason, condition.message)
}
