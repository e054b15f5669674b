//! Target of a request: the cluster that was chosen, its endpoints in the order in which they are tried, and the body as they
//! are to get it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{HeaderName, HeaderValue, StatusCode};
use pailou_ai::{Pieces, splice_model};
use pailou_envoy_proto::header_mutation;
use pailou_extproc::{
    client::{Choice, Listener},
    endpoints::Subset,
};
use pailou_picker::{OBJECTIVE_HEADERS, PickError, PickRequest, Picked, criticality, target_name};
use pailou_snapshot::{Address, ClusterKind, LoadBalancer, Pool};
use smallvec::SmallVec;

use super::{Chosen, attempt::Tried, outgoing::Outgoing};
use crate::{
    cluster::{Attempt, AttemptOutcome, ClusterState, EndpointId, hash_of},
    error::{Error, Flag},
    request_input::RequestInput,
    runtime::Runtime,
};

/// Headers that name the InferenceObjective of a request, the newer name first.
static OBJECTIVES: [HeaderName; 2] = [HeaderName::from_static(OBJECTIVE_HEADERS[0]), HeaderName::from_static(OBJECTIVE_HEADERS[1])];

/// A cluster with what decides the order of its endpoints for one request.
pub(super) struct Target {
    pub(super) cluster: Arc<ClusterState>,
    pub(super) settings: Arc<pailou_snapshot::Cluster>,
    /// The body with the model's name that the pool wants, where it was read.
    pub(super) body: Option<Pieces>,
    /// The name that was put in.
    pub(super) target_model: Option<Arc<str>>,
    /// A cookie for the client, by which it comes back to the same endpoint.
    pub(super) set_cookie: Option<HeaderValue>,
    /// An endpoint picker that is to hear of the response.
    pub(super) listener: Option<Listener>,
    order: Order,
}

enum Order {
    /// The picker's: best first.
    Picked(Picked),
    /// An endpoint picker's, to be tried in this order.
    Chosen { endpoints: Vec<Address>, at: usize },
    /// The balancer's.
    Balanced { hash: Option<u64>, tried: SmallVec<[EndpointId; 4]> },
}

impl Target {
    /// Decides where a request goes.
    ///
    /// # Errors
    /// 503 where the pool has no endpoint, 429 where it is saturated and the request can be shed.
    pub(super) fn new(route: &Chosen<'_>, outgoing: &Outgoing, input: &RequestInput) -> Result<Self, Error> {
        let Ok(id) = &route.backend.cluster else { return Err(Error::misconfigured("the backend has no cluster")) };
        Self::of(route.runtime, *id, route.client, outgoing, input)
    }

    /// The same for any cluster: a mirror's.
    pub(super) fn of(
        runtime: &Runtime,
        id: pailou_snapshot::ClusterId,
        client: IpAddr,
        outgoing: &Outgoing,
        input: &RequestInput,
    ) -> Result<Self, Error> {
        let cluster = runtime.cluster(id).clone();
        let settings = cluster.settings();
        if let ClusterKind::Pool(pool) = &settings.kind {
            return Self::in_pool(pool.clone(), cluster, settings.clone(), outgoing, input);
        }
        let (hash, set_cookie) = match &settings.load_balancer {
            LoadBalancer::ConsistentHash { source, .. } => {
                let hashed = hash_of(source, &outgoing.headers, client, outgoing.query());
                (hashed.hash, hashed.set_cookie)
            }
            _ => (None, None),
        };
        let order = Order::Balanced { hash, tried: SmallVec::new() };
        Ok(Self { cluster, settings, body: input.pieces(), target_model: None, set_cookie, listener: None, order })
    }

    /// Target that an endpoint picker chose, with its changes to the request.
    ///
    /// # Errors
    /// 500 where the backend has no cluster.
    pub(super) fn chosen(route: &Chosen<'_>, choice: Choice, outgoing: &mut Outgoing) -> Result<Self, Error> {
        let Ok(id) = &route.backend.cluster else { return Err(Error::misconfigured("the backend has no cluster")) };
        let cluster = route.runtime.cluster(*id).clone();
        choice.headers.iter().for_each(|mutation| header_mutation::apply(mutation, &mut outgoing.headers));
        Ok(Self {
            settings: cluster.settings(),
            cluster,
            body: choice.body.map(Pieces::from_iter),
            target_model: None,
            set_cookie: None,
            listener: choice.listener,
            order: Order::Chosen { endpoints: choice.endpoints.into_iter().map(Address::Socket).collect(), at: 0 },
        })
    }

    fn in_pool(
        pool: Arc<Pool>,
        cluster: Arc<ClusterState>,
        settings: Arc<pailou_snapshot::Cluster>,
        outgoing: &Outgoing,
        input: &RequestInput,
    ) -> Result<Self, Error> {
        let state = cluster.pool().ok_or_else(|| Error::misconfigured("the pool has no picker"))?;
        let call = input.call();
        let scan = call.and_then(|call| call.scan.as_ref());
        let asked = scan.and_then(|scan| scan.model.as_deref()).unwrap_or("");
        let model = pool.model(asked);
        let target_model = model.and_then(|model| target_name(model)).filter(|name| **name != *asked && !asked.is_empty());
        let body = match (call, scan, &target_model) {
            (Some(call), Some(scan), Some(name)) => Some(splice_model(&call.bytes, scan, name)),
            _ => input.pieces(),
        };
        let objective = OBJECTIVES.iter().find_map(|name| outgoing.headers.get(name)?.to_str().ok());
        let subset = outgoing.subset().map(|subset| eligible(&cluster, subset));
        let request = PickRequest {
            model: target_model.as_deref().unwrap_or(asked),
            prompt: call.zip(scan).and_then(|(call, scan)| call.bytes.get(scan.prompt.clone()?)).unwrap_or(&[]),
            cache_salt: scan.and_then(|scan| scan.cache_salt.as_deref()),
            criticality: criticality(&pool, model.map(|model| &**model), objective),
            input_bytes: call.map_or(0, |call| call.bytes.len()),
            max_tokens: scan.and_then(|scan| scan.max_tokens),
            subset: subset.as_deref(),
        };
        let picked = state.pick(&request).map_err(|error| match error {
            PickError::NoEndpoints => no_endpoint(),
            PickError::Saturated { retry_after } => {
                Error::new(Flag::Shed, "the model is busy and this request can wait; try again later").with_retry_after(retry_after)
            }
        })?;
        Ok(Self { cluster, settings, body, target_model, set_cookie: None, listener: None, order: Order::Picked(picked) })
    }

    /// The endpoint of the next attempt: one that was not tried yet, as long as there is one.
    ///
    /// # Errors
    /// 503 where there is none at all.
    pub(super) fn next(&mut self) -> Result<Attempt, Error> {
        match &mut self.order {
            Order::Picked(picked) => {
                // An endpoint that has just gone is passed over; so is one that health checks rule out, unless they rule out all that are left.
                let cluster = &self.cluster;
                loop {
                    let is_other_available = || picked.ranked().any(|other| cluster.is_available_at(&other.address));
                    let may_be_used = |attempt: &Attempt| cluster.is_available(attempt.endpoint()) || !is_other_available();
                    if let Some(attempt) = cluster.attempt_at(&picked.endpoint().address).filter(may_be_used) {
                        return Ok(attempt);
                    }
                    if !picked.fail_over() {
                        return Err(no_endpoint());
                    }
                }
            }
            Order::Chosen { endpoints, at } => {
                // One that has just gone is passed over.
                while let Some(address) = endpoints.get(*at) {
                    if let Some(attempt) = self.cluster.attempt_at(address) {
                        return Ok(attempt);
                    }
                    *at += 1;
                }
                Err(no_endpoint())
            }
            Order::Balanced { hash, tried } => {
                let attempt = self.cluster.choose_excluding(*hash, tried).ok_or_else(no_endpoint)?;
                tried.push(attempt.id());
                Ok(attempt)
            }
        }
    }

    /// Whether an attempt that failed like this moves on to the pool's next best endpoint by itself, without a retry policy;
    /// if so, it has moved on.
    pub(super) fn fail_over(&mut self, tried: &Tried) -> bool {
        if matches!(self.order, Order::Balanced { .. }) {
            return false;
        }
        let elsewhere = match tried {
            Tried::Answered(answered) => answered.exchange.response.status() == StatusCode::SERVICE_UNAVAILABLE,
            Tried::Failed(failed) => failed.outcome == AttemptOutcome::ConnectFailure || failed.before_content,
        };
        elsewhere && self.order.advance()
    }

    /// Whether there is an endpoint that was not tried yet.
    pub(super) fn has_next(&self) -> bool {
        match &self.order {
            Order::Picked(picked) => picked.has_next(),
            Order::Chosen { endpoints, at } => at + 1 < endpoints.len(),
            Order::Balanced { .. } => false,
        }
    }

    /// Moves on for a retry that a policy asks for; where every endpoint was tried, the same one is tried again.
    pub(super) fn advance(&mut self) {
        self.order.advance();
    }

    /// Reservation to hold until the request ends.
    pub(super) fn into_picked(self) -> Option<Picked> {
        match self.order {
            Order::Picked(picked) => Some(picked),
            Order::Chosen { .. } | Order::Balanced { .. } => None,
        }
    }
}

impl Order {
    /// Moves on to the next endpoint, if there is one.
    fn advance(&mut self) -> bool {
        match self {
            Self::Picked(picked) => picked.fail_over(),
            Self::Chosen { endpoints, at } if *at + 1 < endpoints.len() => {
                *at += 1;
                true
            }
            Self::Chosen { .. } | Self::Balanced { .. } => false,
        }
    }
}

/// The endpoints of a pool that are in a subset.
fn eligible(cluster: &ClusterState, subset: &str) -> Vec<SocketAddr> {
    let subset = Subset::parse([subset]);
    let endpoints = cluster.endpoints();
    let addresses = endpoints.iter().filter_map(|endpoint| endpoint.endpoint().address.socket());
    addresses.filter(|address| subset.contains(*address)).collect()
}

fn no_endpoint() -> Error {
    Error::new(Flag::NoEndpoint, "no backend is ready to serve this request")
}
