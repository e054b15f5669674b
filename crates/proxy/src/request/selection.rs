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
    /// 503 where the balancer has none.
    pub(super) fn next(&mut self) -> Result<Attempt, Error> {
        match &mut self.order {
            Order::Picked(picked) => loop {
                if let Some(attempt) = self.cluster.attempt_picked(picked.endpoint()) {
                    return Ok(attempt);
                }
                // It has just gone, and so may all that were picked: between the pick and now others took their places.
                if !picked.pass_over() {
                    return Ok(self.cluster.attempt_gone(picked.endpoint()));
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use pailou_picker::{PickRequest, PoolState};
    use pailou_snapshot::{
        Address, Cluster, ClusterKey, ClusterKind, Endpoint, EndpointKey, EndpointRole, HealthChecks, LoadBalancer, ModelServer,
        Name, Pool, Protocol, RoutingStrategy,
    };
    use tokio::runtime::Builder;

    use super::*;
    use crate::dns::{Dns, Overrides};

    fn endpoint(number: u8, name: &str) -> Endpoint {
        let address = Address::Socket(SocketAddr::from(([10, 0, 0, number], 8000)));
        Endpoint { address, name: name.into(), priority: 0, role: EndpointRole::Decode, context: None }
    }

    #[test]
    fn a_request_whose_endpoint_has_gone_since_the_pick_is_tried_there() {
        let tasks = Builder::new_current_thread().enable_all().build().unwrap();
        let background = crate::health::background(tasks.handle().clone(), Dns::new(tasks.handle().clone(), Overrides::default()));
        let pool = Arc::new(Pool::new(Name::new("default", "pool"), ModelServer::Vllm, RoutingStrategy::Load));
        let settings = Cluster {
            key: ClusterKey { endpoints: EndpointKey::Pool(pool.name.clone()), variant: 0 },
            kind: ClusterKind::Pool(Arc::clone(&pool)),
            protocol: Protocol::Http1,
            tls: Ok(None),
            load_balancer: LoadBalancer::default(),
            health: HealthChecks::default(),
            tcp_keepalive: None,
            proxy_protocol: None,
            connection: Default::default(),
        };
        let before = [endpoint(1, "a"), endpoint(2, "b")];
        let state = PoolState::new(pool, &[], tasks.handle());
        let cluster = ClusterState::new(Arc::new(settings), before.clone().into(), Some(state), &background);
        let pick = || Selection::picked(Arc::clone(&cluster), cluster.pick(&PickRequest::default()).unwrap());
        let (mut here, mut gone) = (pick(), pick());
        assert!(before.contains(here.next().unwrap().endpoint().endpoint()));
        // Another Pod has the first one's address, and the second is no more.
        cluster.update_endpoints(&[endpoint(1, "c")].into());
        let attempt = gone.next().unwrap();
        let endpoints = [endpoint(1, "c"), before[1].clone()];
        assert!(endpoints.contains(attempt.endpoint().endpoint()), "{:?}", attempt.endpoint().endpoint());
        cluster.update_endpoints(&[endpoint(3, "d")].into());
        assert!(before.contains(gone.next().unwrap().endpoint().endpoint()), "neither address is there any more");
        assert_eq!(cluster.endpoints().len(), 1, "no endpoint of the cluster's");
    }
}
