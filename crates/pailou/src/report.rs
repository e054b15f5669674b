//! Log of a gateway's configuration: everything at first, then only changes.

use std::collections::{BTreeMap, BTreeSet};

use pailou_compile::status::{Severity, Statuses};
use pailou_snapshot::{ListenerRef, Port, PortKey, Snapshot};

use crate::source::{Problem, Strictness};

/// A socket that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {port} ({purpose}): {reason}")]
pub(crate) struct Unbound {
    /// The socket.
    pub(crate) port: PortKey,
    /// The Gateways and listeners that it was for.
    pub(crate) purpose: String,
    /// Why.
    pub(crate) reason: String,
}

/// The lines said last.
#[derive(Debug, Default)]
pub(crate) struct Report {
    listeners: BTreeMap<PortKey, String>,
    problems: BTreeMap<String, Severity>,
    /// Notes on objects, and whether each is a problem.
    statuses: Statuses,
    findings: BTreeMap<String, Severity>,
}

/// Most listeners of a socket that are named one by one.
const MAX_NAMED: usize = 16;

impl Report {
    /// Logs notes that are new and those that have gone. `unbound` are sockets that the proxy could not bind.
    pub(crate) fn update(&mut self, snapshot: &Snapshot, statuses: &Statuses, files: &[Problem], unbound: &[Unbound]) {
        let mut listeners = listeners(snapshot);
        for unbound in unbound {
            listeners.remove(&unbound.port);
        }
        if statuses.differ_in_problems(&self.statuses) {
            self.findings = findings(statuses);
        }
        self.statuses = statuses.clone();
        let problems = problems(&self.findings, files, unbound);
        for (port, names) in &self.listeners {
            if !listeners.contains_key(port) {
                tracing::info!("no longer listening on {port} ({names})");
            }
        }
        for (port, names) in &listeners {
            if self.listeners.get(port) != Some(names) {
                tracing::info!("listening on {port} ({names})");
            }
        }
        for line in self.problems.keys().filter(|line| !problems.contains_key(*line)) {
            tracing::info!("no longer: {line}");
        }
        for (line, severity) in problems.iter().filter(|(line, _)| !self.problems.contains_key(*line)) {
            match severity {
                Severity::Error => tracing::error!("{line}"),
                Severity::Warning => tracing::warn!("{line}"),
                Severity::Fine => tracing::info!("{line}"),
            }
        }
        (self.listeners, self.problems) = (listeners, problems);
    }

    /// Whether nothing listens.
    pub(crate) fn is_silent(&self) -> bool {
        self.listeners.is_empty()
    }
}

/// The Gateways and listeners of every socket.
pub(crate) fn listeners(snapshot: &Snapshot) -> BTreeMap<PortKey, String> {
    snapshot.ports.iter().map(|port| (port.key(), names(port))).collect()
}

fn names(port: &Port) -> String {
    let name = |listener: ListenerRef<'_>| {
        let hostname = listener.hostname().map(|hostname| format!(" for {hostname}")).unwrap_or_default();
        format!("Gateway {}, listener {}{hostname}", listener.name().gateway, listener.name().section)
    };
    let listeners = port.listeners();
    if listeners.len() > MAX_NAMED {
        let gateways: BTreeSet<_> = listeners.iter().map(|listener| &listener.name().gateway).collect();
        let gateways: Vec<_> = gateways.into_iter().map(|name| format!("Gateway {name}")).collect();
        return format!("{}: {} listeners of {}", port.service.protocol(), listeners.len(), gateways.join(", "));
    }
    let mut names: Vec<String> = listeners.into_iter().map(name).collect();
    names.sort();
    format!("{}: {}", port.service.protocol(), names.join("; "))
}

fn problems(findings: &BTreeMap<String, Severity>, files: &[Problem], unbound: &[Unbound]) -> BTreeMap<String, Severity> {
    let mut lines = findings.clone();
    for problem in files {
        lines.insert(problem.to_string(), problem.level.severity(Strictness::SERVING));
    }
    for unbound in unbound {
        lines.insert(unbound.to_string(), Severity::Error);
    }
    lines
}

fn findings(statuses: &Statuses) -> BTreeMap<String, Severity> {
    let lines = statuses.problems().into_iter().map(|finding| {
        let mut line = finding.object.to_string();
        if !finding.part.is_empty() {
            line.push_str(&format!(" ({})", finding.part));
        }
        if let Some(condition) = finding.condition {
            line.push_str(&format!(": {} {:?} {}", condition.kind, condition.status, condition.reason));
        }
        line.push_str(&format!(": {}", finding.message));
        (line, finding.severity)
    });
    lines.collect()
}
