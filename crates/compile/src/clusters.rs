//! The clusters and breakers of a snapshot, with their policies, pools and Backends.

use super::{backends::Backends, cluster_ids::ClusterIds, index::Index, pools::Pools, upstream_tls::TlsPolicies};

/// The clusters and breakers of a snapshot in the making.
pub(crate) struct Clusters<'a> {
    pub(crate) tls: TlsPolicies<'a>,
    pub(crate) pools: Pools<'a>,
    pub(crate) backends: Backends<'a>,
    pub(crate) cluster_ids: ClusterIds,
}

impl<'a> Clusters<'a> {
    /// Begins with the clusters that there are.
    pub(crate) fn new(index: &Index<'a>, cluster_ids: ClusterIds) -> Self {
        let tls = TlsPolicies::new(index);
        Self { pools: Pools::new(index, &tls), tls, backends: Backends::new(index), cluster_ids }
    }
}
