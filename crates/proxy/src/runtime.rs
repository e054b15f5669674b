//! Run-time state of the data plane: a snapshot, joined with the state that outlives it.

use std::{
    hash::Hash,
    sync::{Arc, OnceLock},
};

use foldhash::HashMap;
use pailou_picker::PoolState;
use pailou_snapshot::{
    BreakerId, BreakerKey, Cluster, ClusterId, ClusterKey, ClusterKind, Endpoint, EndpointKey, Endpoints, Port, PortKey, Snapshot,
};

use crate::{
    breaker::Breaker,
    cluster::{Background, ClusterState},
    metrics_transport::MetricsTransport,
};

/// A snapshot with the run-time state of everything it names. Immutable but for the endpoints' cells; state that no snapshot
/// names any more goes when the last request lets go of it, and its background tasks with it.
#[derive(Debug, Default)]
pub struct Runtime {
    snapshot: Arc<Snapshot>,
    clusters: Vec<Arc<ClusterState>>,
    /// The pickers' part of InferencePools: one a pool, whatever clusters the policies of its routes make of it.
    pools: HashMap<EndpointKey, Arc<PoolState>>,
    breakers: Vec<Arc<Breaker>>,
    ports: HashMap<PortKey, usize>,
    /// Clusters by key; made when one is first looked for.
    by_key: OnceLock<HashMap<ClusterKey, usize>>,
}

impl Runtime {
    /// Joins a snapshot with the state of the previous one: what has the same key carries over.
    pub fn link(previous: Option<&Self>, snapshot: Arc<Snapshot>, endpoints: &Endpoints, background: &Background) -> Self {
        let nothing = Self::default();
        let previous = previous.unwrap_or(&nothing);
        let mut clusters = Carried::new(&previous.clusters, |state| state.key());
        let mut pools = HashMap::default();
        let clusters = snapshot.clusters.iter().enumerate().map(|(place, settings)| {
            let cell = cell(endpoints, &settings.key.endpoints);
            let pool = pool(&mut pools, &previous.pools, settings, background);
            let Some(state) = clusters.find(place, &settings.key) else {
                return ClusterState::new(Arc::clone(settings), cell, pool, background);
            };
            state.update_settings(settings);
            state.update_endpoints(&cell);
            Arc::clone(state)
        });
        let clusters: Vec<_> = clusters.collect();
        let known: Vec<_> = previous.breakers().collect();
        let mut known = Carried::new(&known, |(key, _)| *key);
        let breakers = snapshot.breakers.iter().enumerate();
        let breakers =
            breakers.map(|(place, key)| known.find(place, key).map(|(_, it)| Arc::clone(it)).unwrap_or_default()).collect();
        let ports = snapshot.ports.iter().enumerate().map(|(index, port)| (port.key(), index)).collect();
        Self { snapshot, clusters, pools, breakers, ports, by_key: OnceLock::new() }
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
        let by_key = || self.clusters.iter().enumerate().map(|(place, cluster)| (cluster.key().clone(), place)).collect();
        self.by_key.get_or_init(by_key).get(key).map(|place| &self.clusters[*place])
    }

    /// A circuit breaker of this snapshot.
    pub fn breaker(&self, id: BreakerId) -> &Arc<Breaker> {
        &self.breakers[id.0 as usize]
    }

    /// The port of a socket.
    pub fn port(&self, key: PortKey) -> Option<&Port> {
        self.ports.get(&key).map(|&index| &self.snapshot.ports[index])
    }

    /// All clusters' states, for metrics.
    pub fn clusters(&self) -> &[Arc<ClusterState>] {
        &self.clusters
    }

    /// The pickers' part of all InferencePools, for metrics.
    pub fn pools(&self) -> impl Iterator<Item = (&EndpointKey, &Arc<PoolState>)> {
        self.pools.iter()
    }

    /// All circuit breakers with their keys, for metrics.
    pub fn breakers(&self) -> impl Iterator<Item = (&BreakerKey, &Arc<Breaker>)> {
        self.snapshot.breakers.iter().zip(&self.breakers)
    }
}

/// State of a snapshot before, to be found by key. Most of it has the place that it had.
struct Carried<'a, K, T> {
    list: &'a [T],
    key: fn(&'a T) -> &'a K,
    /// By key; made when something first has another place.
    places: Option<HashMap<&'a K, usize>>,
}

impl<'a, K: Eq + Hash, T> Carried<'a, K, T> {
    fn new(list: &'a [T], key: fn(&'a T) -> &'a K) -> Self {
        Self { list, key, places: None }
    }

    /// Finds the state with this key, probably at this place.
    fn find(&mut self, place: usize, key: &K) -> Option<&'a T> {
        let Self { list, key: key_of, places } = self;
        if let Some(same) = list.get(place).filter(|it| key_of(it) == key) {
            return Some(same);
        }
        let places = places.get_or_insert_with(|| list.iter().enumerate().map(|(place, it)| (key_of(it), place)).collect());
        places.get(key).map(|place| &list[*place])
    }
}

/// The picker's part of a cluster's pool: the one of before, where there was one.
fn pool(
    pools: &mut HashMap<EndpointKey, Arc<PoolState>>,
    previous: &HashMap<EndpointKey, Arc<PoolState>>,
    settings: &Cluster,
    background: &Background,
) -> Option<Arc<PoolState>> {
    let ClusterKind::Pool(pool) = &settings.kind else { return None };
    let key = &settings.key.endpoints;
    let new = || {
        let state = previous.get(key).cloned().unwrap_or_else(|| {
            let state = PoolState::new(Arc::clone(pool), &[], &background.tasks);
            state.set_token_source(background.token_source.clone());
            state
        });
        // Of a pool's clusters the first decides: they differ in the Gateway's client certificate at most.
        if state.transport_identity() != MetricsTransport::identity_of(&settings.tls) {
            state.set_transport(MetricsTransport::of(&settings.tls));
        }
        state
    };
    Some(pools.entry(key.clone()).or_insert_with(new).clone())
}

fn cell(endpoints: &Endpoints, key: &EndpointKey) -> Arc<[Endpoint]> {
    endpoints.get(key).cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests;
