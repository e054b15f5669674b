//! What a gateway says of its configuration while it runs: everything at first, then only what changed.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use pailou_config::{
    snapshot::{Listener, Port, PortProtocol, Snapshot},
    status::{Severity, Statuses},
};

use crate::source::{Level, Problem};

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({purpose}): {reason}")]
pub(crate) struct Unbound {
    /// The address.
    pub(crate) address: SocketAddr,
    /// The Gateways and listeners that it was for.
    pub(crate) purpose: String,
    /// Why.
    pub(crate) reason: String,
}

/// The lines said last.
#[derive(Debug, Default)]
pub(crate) struct Report {
    listeners: BTreeMap<SocketAddr, String>,
    problems: BTreeMap<String, Severity>,
}

impl Report {
    /// Logs what is new and what is gone. `unbound` are addresses that could not be bound.
    pub(crate) fn update(&mut self, snapshot: &Snapshot, statuses: &Statuses, files: &[Problem], unbound: &[Unbound]) {
        let mut listeners = listeners(snapshot);
        for unbound in unbound {
            listeners.remove(&unbound.address);
        }
        let problems = problems(statuses, files, unbound);
        for (address, names) in &self.listeners {
            if !listeners.contains_key(address) {
                tracing::info!("no longer listening on {address} ({names})");
            }
        }
        for (address, names) in &listeners {
            if self.listeners.get(address) != Some(names) {
                tracing::info!("listening on {address} ({names})");
            }
        }
        for line in self.problems.keys().filter(|line| !problems.contains_key(*line)) {
            tracing::info!("no longer: {line}");
        }
        for (line, severity) in problems.iter().filter(|(line, _)| !self.problems.contains_key(*line)) {
            match severity {
                Severity::Error => tracing::error!("{line}"),
                _ => tracing::warn!("{line}"),
            }
        }
        *self = Self { listeners, problems };
    }

    /// Whether nothing listens.
    pub(crate) fn is_silent(&self) -> bool {
        self.listeners.is_empty()
    }
}

/// The Gateways and listeners of every address.
pub(crate) fn listeners(snapshot: &Snapshot) -> BTreeMap<SocketAddr, String> {
    snapshot.ports.iter().map(|port| (port.address, names(port))).collect()
}

fn names(port: &Port) -> String {
    let name = |listener: &Arc<Listener>| {
        let hostname = listener.hostname.as_ref().map(|hostname| format!(" for {hostname}")).unwrap_or_default();
        format!("Gateway {}, listener {}{hostname}", listener.name.gateway, listener.name.section)
    };
    let mut names: Vec<String> = port.listeners.values().map(name).collect();
    names.sort();
    let scheme = match port.protocol {
        PortProtocol::Http => "HTTP",
        PortProtocol::Https => "HTTPS",
    };
    format!("{scheme}: {}", names.join("; "))
}

fn problems(statuses: &Statuses, files: &[Problem], unbound: &[Unbound]) -> BTreeMap<String, Severity> {
    let mut lines = BTreeMap::new();
    for problem in files {
        let severity = if problem.level == Level::Ignored { Severity::Warning } else { Severity::Error };
        lines.insert(problem.to_string(), severity);
    }
    for finding in statuses.problems() {
        let mut line = finding.object.to_string();
        if !finding.part.is_empty() {
            line.push_str(&format!(" ({})", finding.part));
        }
        if let Some(condition) = finding.condition {
            line.push_str(&format!(": {} {:?} {}", condition.kind, condition.status, condition.reason));
        }
        line.push_str(&format!(": {}", finding.message));
        lines.insert(line, finding.severity);
    }
    for unbound in unbound {
        lines.insert(unbound.to_string(), Severity::Error);
    }
    lines
}
