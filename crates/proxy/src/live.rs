//! What the data plane runs on: a snapshot, joined with the state that outlives it.

use std::sync::Arc;

use foldhash::HashMap;
use pailou_config::snapshot::{
    BreakerId, BreakerKey, ClusterId, ClusterKey, Endpoint, EndpointKey, Endpoints, Port, PortKey, Snapshot,
};

use crate::{breaker::Breaker, cluster::ClusterState, health::Background};

/// A snapshot with the run-time state of everything it names. Immutable but for the endpoints' cells; state that no snapshot
/// names any more goes when the last request lets go of it, and its background tasks with it.
#[derive(Debug, Default)]
pub struct Live {
    snapshot: Arc<Snapshot>,
    clusters: Vec<Arc<ClusterState>>,
    breakers: Vec<Arc<Breaker>>,
    ports: HashMap<PortKey, usize>,
}

impl Live {
    /// Joins a snapshot with the state of the previous one: what has the same key carries over.
    pub fn link(previous: Option<&Self>, snapshot: Arc<Snapshot>, endpoints: &Endpoints, background: &Background) -> Self {
        let mut clusters: HashMap<ClusterKey, Arc<ClusterState>> = HashMap::default();
        let mut breakers: HashMap<BreakerKey, Arc<Breaker>> = HashMap::default();
        if let Some(previous) = previous {
            clusters.extend(previous.clusters.iter().map(|state| (state.key().clone(), Arc::clone(state))));
            breakers.extend(previous.snapshot.breakers.iter().cloned().zip(previous.breakers.iter().cloned()));
        }
        let clusters = snapshot
            .clusters
            .iter()
            .map(|settings| {
                let cell = cell(endpoints, &settings.key.endpoints);
                if let Some(state) = clusters.get(&settings.key) {
                    state.update_settings(settings);
                    state.update_endpoints(&cell);
                    return Arc::clone(state);
                }
                let state = ClusterState::new(Arc::clone(settings), cell, background);
                clusters.insert(settings.key.clone(), Arc::clone(&state));
                state
            })
            .collect();
        let breakers = snapshot.breakers.iter().map(|key| Arc::clone(breakers.entry(key.clone()).or_default())).collect();
        let ports = snapshot.ports.iter().enumerate().map(|(index, port)| (port.key(), index)).collect();
        Self { snapshot, clusters, breakers, ports }
    }

    /// Takes new endpoints without a new snapshot; only cells that changed are looked at.
    pub fn update_endpoints(&self, endpoints: &Endpoints) {
        for cluster in &self.clusters {
            cluster.update_endpoints(&cell(endpoints, &cluster.key().endpoints));
        }
    }

    /// The snapshot.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The state of a cluster of this snapshot.
    pub fn cluster(&self, id: ClusterId) -> &Arc<ClusterState> {
        &self.clusters[id.0 as usize]
    }

    /// The state of the cluster of this snapshot that has this key: of the few that are not referred to by an id.
    pub fn find(&self, key: &ClusterKey) -> Option<&Arc<ClusterState>> {
        self.clusters.iter().find(|cluster| cluster.key() == key)
    }

    /// A circuit breaker of this snapshot.
    pub fn breaker(&self, id: BreakerId) -> &Arc<Breaker> {
        &self.breakers[id.0 as usize]
    }

    /// What listens on a socket.
    pub fn port(&self, key: PortKey) -> Option<&Port> {
        self.ports.get(&key).map(|&index| &self.snapshot.ports[index])
    }

    /// All clusters' states, for metrics.
    pub fn clusters(&self) -> &[Arc<ClusterState>] {
        &self.clusters
    }

    /// All circuit breakers with their keys, for metrics.
    pub fn breakers(&self) -> impl Iterator<Item = (&BreakerKey, &Arc<Breaker>)> {
        self.snapshot.breakers.iter().zip(&self.breakers)
    }
}

fn cell(endpoints: &Endpoints, key: &EndpointKey) -> Arc<[Endpoint]> {
    endpoints.get(key).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests;
