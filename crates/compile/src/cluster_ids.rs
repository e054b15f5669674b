//! Clusters and breakers of a snapshot, each once, numbered in the order in which routes first come to them.

use std::{hash::BuildHasher, hash::Hash, sync::Arc};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use pailou_snapshot::{BreakerId, BreakerKey, Cluster, ClusterId, ClusterKey};

/// Everything that has a number. A number depends on the routes that come before, and on nothing else.
#[derive(Debug, Default)]
pub(crate) struct ClusterIds {
    pub(crate) clusters: Vec<Arc<Cluster>>,
    pub(crate) breakers: Vec<BreakerKey>,
    cluster_places: HashTable<u32>,
    breaker_places: HashTable<u32>,
}

/// How many clusters and breakers there are at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IdCounts {
    clusters: usize,
    breakers: usize,
}

/// Clusters that one route uses, in its order, with their numbers.
#[derive(Debug, Default)]
pub(crate) struct UsedIds {
    clusters: Vec<(ClusterId, Arc<Cluster>)>,
    breakers: Vec<(BreakerId, BreakerKey)>,
}

impl ClusterIds {
    /// How many there are.
    pub(crate) fn count(&self) -> IdCounts {
        IdCounts { clusters: self.clusters.len(), breakers: self.breakers.len() }
    }

    /// Forgets whatever came after a moment.
    pub(crate) fn truncate(&mut self, count: IdCounts) {
        for place in (count.clusters..self.clusters.len()).rev() {
            let hash = hash(&self.clusters[place].key);
            if let Ok(entry) = self.cluster_places.find_entry(hash, |it| *it as usize == place) {
                entry.remove();
            }
        }
        for place in (count.breakers..self.breakers.len()).rev() {
            let hash = hash(&self.breakers[place]);
            if let Ok(entry) = self.breaker_places.find_entry(hash, |it| *it as usize == place) {
                entry.remove();
            }
        }
        self.clusters.truncate(count.clusters);
        self.breakers.truncate(count.breakers);
    }

    /// Whether there is a cluster of this key.
    pub(crate) fn has(&self, key: &ClusterKey) -> bool {
        self.cluster_places.find(hash(key), |it| self.clusters[*it as usize].key == *key).is_some()
    }

    /// The number of a cluster; the first of a key stands for all.
    pub(crate) fn cluster(&mut self, cluster: Arc<Cluster>, used: &mut UsedIds) -> ClusterId {
        let Self { clusters, cluster_places, .. } = self;
        let next = number(clusters.len());
        let entry = cluster_places.entry(
            hash(&cluster.key),
            |it| clusters[*it as usize].key == cluster.key,
            |it| hash(&clusters[*it as usize].key),
        );
        let id = *entry.or_insert(next).get();
        if id == next {
            clusters.push(cluster);
        }
        if used.clusters.iter().all(|(known, _)| known.0 != id) {
            used.clusters.push((ClusterId(id), clusters[id as usize].clone()));
        }
        ClusterId(id)
    }

    /// The number of a breaker.
    pub(crate) fn breaker(&mut self, key: BreakerKey, used: &mut UsedIds) -> BreakerId {
        let Self { breakers, breaker_places, .. } = self;
        let next = number(breakers.len());
        let entry = breaker_places.entry(hash(&key), |it| breakers[*it as usize] == key, |it| hash(&breakers[*it as usize]));
        let id = *entry.or_insert(next).get();
        if used.breakers.iter().all(|(known, _)| known.0 != id) {
            used.breakers.push((BreakerId(id), key.clone()));
        }
        if id == next {
            breakers.push(key);
        }
        BreakerId(id)
    }

    /// Goes through what a route made use of once more. Where a number is another than it was, it takes all of it back and gives
    /// false: the route is to be compiled anew.
    pub(crate) fn repeat(&mut self, used: &UsedIds) -> bool {
        let before = self.count();
        let mut again = UsedIds::default();
        let are_same = used.clusters.iter().all(|(id, cluster)| self.cluster(cluster.clone(), &mut again) == *id)
            && used.breakers.iter().all(|(id, key)| self.breaker(key.clone(), &mut again) == *id);
        if !are_same {
            self.truncate(before);
        }
        are_same
    }
}

impl UsedIds {
    /// Gives back room that is left.
    pub(crate) fn shrink(&mut self) {
        self.clusters.shrink_to_fit();
        self.breakers.shrink_to_fit();
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn hash(key: &impl Hash) -> u64 {
    FixedState::default().hash_one(key)
}
