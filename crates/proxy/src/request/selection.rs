//! Endpoints of a cluster in the order in which a request tries them.

use std::sync::Arc;

use pailou_picker::{Eviction, Picked};

use crate::{
    cluster::{Attempt, ClusterState, EndpointState},
    error::{Error, Flag},
    weighted::TriedEndpoints,
};

/// The endpoint that a request is at, and those that follow.
pub(super) struct Selection {
    cluster: Arc<ClusterState>,
    order: Order,
}

enum Order {
    /// A picker's, the built-in one or the pool's own: best first, with a place reserved at the present one.
    Picked(Picked),
    /// The balancer's: any that was not tried.
    Balanced { hash: Option<u64>, first: Option<Arc<EndpointState>>, tried: TriedEndpoints },
}

impl Selection {
    /// The endpoints that a picker chose.
    pub(super) fn picked(cluster: Arc<ClusterState>, picked: Picked) -> Self {
        Self { cluster, order: Order::Picked(picked) }
    }

    /// The endpoints that the cluster's balancer chooses, by this hash where it hashes; `first` is that of a session.
    pub(super) fn balanced(cluster: Arc<ClusterState>, hash: Option<u64>, first: Option<Arc<EndpointState>>) -> Self {
        Self { cluster, order: Order::Balanced { hash, first, tried: TriedEndpoints::new() } }
    }

    /// The cluster.
    pub(super) fn cluster(&self) -> &Arc<ClusterState> {
        &self.cluster
    }

    /// Leaves out what was tried before, as far as others are left. A picker puts what failed last by itself.
    pub(super) fn leave_out(&mut self, before: TriedEndpoints) {
        if let Order::Balanced { tried, .. } = &mut self.order {
            *tried = before;
        }
    }

    /// The endpoint of the next attempt. The balancer gives one that was not tried yet, as long as there is one; a picker's stays
    /// until [`Selection::advance`].
    ///
    /// # Errors
    /// 503 where there is none at all.
    pub(super) fn next(&mut self) -> Result<Attempt, Error> {
        match &mut self.order {
            Order::Picked(picked) => loop {
                if let Some(attempt) = self.cluster.attempt_picked(picked.endpoint()) {
                    return Ok(attempt);
                }
                // It has just gone.
                if !picked.pass_over() {
                    return Err(no_endpoint(&self.cluster));
                }
            },
            Order::Balanced { hash, first, tried } => {
                let attempt = match first.take().filter(|first| !tried.contains(&first.id())) {
                    Some(first) => first.attempt(),
                    None => self.cluster.choose_excluding(*hash, tried).ok_or_else(|| no_endpoint(&self.cluster))?,
                };
                tried.push(attempt.id());
                Ok(attempt)
            }
        }
    }

    /// Signal that the request is to give up its place for a more important one; `None` where it need not.
    pub(super) fn eviction(&self) -> Option<Arc<Eviction>> {
        match &self.order {
            Order::Picked(picked) => picked.eviction().cloned(),
            Order::Balanced { .. } => None,
        }
    }

    /// Whether a failure can be made good by another endpoint without a retry policy: a picker named one.
    pub(super) fn has_next(&self) -> bool {
        match &self.order {
            Order::Picked(picked) => picked.has_next(),
            Order::Balanced { .. } => false,
        }
    }

    /// The present endpoint failed: moves on to the one that a picker named next. False: it named none, and nothing moves.
    pub(super) fn advance(&mut self) -> bool {
        match &mut self.order {
            Order::Picked(picked) => picked.fail_over(),
            Order::Balanced { .. } => false,
        }
    }

    /// The picker's reservation, if there is one.
    pub(super) fn as_picked_mut(&mut self) -> Option<&mut Picked> {
        match &mut self.order {
            Order::Picked(picked) => Some(picked),
            Order::Balanced { .. } => None,
        }
    }

    /// The same, to read.
    pub(super) fn as_picked(&self) -> Option<&Picked> {
        match &self.order {
            Order::Picked(picked) => Some(picked),
            Order::Balanced { .. } => None,
        }
    }

    /// Reservation to hold until the request ends.
    pub(super) fn into_picked(self) -> Option<Picked> {
        match self.order {
            Order::Picked(picked) => Some(picked),
            Order::Balanced { .. } => None,
        }
    }
}

/// The error where a cluster has no endpoint, or none that is left. Its name is the operator's to know.
pub(super) fn no_endpoint(cluster: &ClusterState) -> Error {
    let error = Error::new(Flag::NoEndpoint, "no backend is ready to serve this request");
    let why = if cluster.endpoints().is_empty() { "has no ready endpoint" } else { "has no endpoint left for it" };
    error.with_detail(format!("{} {why}", cluster.key().endpoints))
}
