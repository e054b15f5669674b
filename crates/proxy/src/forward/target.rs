//! Target of a connection: a backend by weight, and its endpoints one after the other.

use std::{net::IpAddr, sync::Arc};

use pailou_snapshot::{BackendRef, Forward, HashSource, LoadBalancer, Timeouts};

use super::Session;
use crate::{
    cluster::{Attempt, AttemptOutcome, ClusterSettings, ClusterState, hash_of},
    error::{Error, Flag},
    proxy_protocol::Ends,
    runtime::Runtime,
    upstream::{FailureKind, Io, Limits, Upstreams, dial},
    weighted::{self, AttemptHistory},
};

/// Most endpoints tried for one connection.
const MAX_ATTEMPTS: u32 = 5;

/// A backend of a rule, and the endpoint of it that is next.
pub(super) struct Target<'a> {
    runtime: &'a Runtime,
    forward: &'a Forward,
    client: IpAddr,
    history: AttemptHistory<'a>,
    first: Place<'a>,
}

/// An endpoint of a backend.
struct Place<'a> {
    backend: &'a BackendRef,
    settings: Arc<ClusterSettings>,
    attempt: Attempt,
}

/// An open connection to an endpoint, which counts it until it is closed.
pub(super) struct Backend {
    pub(super) io: Io,
    _attempt: Attempt,
}

impl<'a> Target<'a> {
    /// Chooses a backend and an endpoint of it.
    ///
    /// # Errors
    /// The rule leads nowhere, TLS that was asked for cannot be had, or there is no endpoint.
    pub(super) fn choose(runtime: &'a Runtime, forward: &'a Forward, client: IpAddr, session: &mut Session) -> Result<Self, Error> {
        let backends = forward.backends.as_ref().map_err(|failure| misconfigured(&failure.0))?;
        let backend = weighted::choose(backends, runtime).ok_or_else(|| misconfigured("the rule has no backend"))?;
        let history = AttemptHistory::new(backends, None);
        let first = Place::choose(runtime, backend, client, &history, session)?;
        Ok(Self { runtime, forward, client, history, first })
    }

    /// Opens a connection for a client: to the endpoint that was chosen, then to others, of whichever backend.
    ///
    /// # Errors
    /// No endpoint could be reached, or a limit forbids the connection.
    pub(super) async fn dial(mut self, client: Ends, upstreams: &Upstreams, session: &mut Session) -> Result<Backend, Error> {
        let mut place = self.first;
        loop {
            let endpoint = place.attempt.endpoint();
            session.tried(endpoint.endpoint());
            let clocks = Timeouts { connect: self.forward.connect, ..Timeouts::default() };
            let breaker = self.runtime.breaker(place.backend.breaker);
            let limits = Limits { breaker: Some(breaker), limits: self.forward.breaker.as_ref() };
            let destination = dial(&place.settings, endpoint, &clocks, limits).map_err(|failure| misconfigured(&failure.0))?;
            let destination = destination.on_behalf_of(client);
            let failure = match upstreams.connect(&destination).await {
                Ok((io, _)) => {
                    place.attempt.report(AttemptOutcome::Success);
                    return Ok(Backend { io, _attempt: place.attempt });
                }
                Err(FailureKind::Overflow(overflow)) => return Err(Error::new(Flag::Overflow, overflow.to_string())),
                Err(failure) => failure,
            };
            place.attempt.report(AttemptOutcome::ConnectFailure);
            let unreachable = || Error::new(Flag::ConnectFailure, "no backend can be reached").with_detail(failure.to_string());
            self.history.push(place.backend, place.attempt.id());
            let next = self.history.next(self.runtime).filter(|_| session.attempts < MAX_ATTEMPTS).ok_or_else(unreachable)?;
            place = Place::choose(self.runtime, next, self.client, &self.history, session)?;
        }
    }
}

impl<'a> Place<'a> {
    fn choose(
        runtime: &Runtime,
        backend: &'a BackendRef,
        client: IpAddr,
        history: &AttemptHistory<'a>,
        session: &mut Session,
    ) -> Result<Self, Error> {
        let id = backend.cluster.as_ref().map_err(|failure| misconfigured(&failure.0))?;
        let cluster = Arc::clone(runtime.cluster(*id));
        session.cluster = Some(Arc::clone(&cluster));
        let settings = cluster.current_settings();
        if let Err(failure) = &settings.tls {
            return Err(misconfigured(&failure.0));
        }
        let attempt = cluster
            .choose_excluding(source_hash(&cluster, client), &history.tried(backend))
            .ok_or_else(|| Error::new(Flag::NoEndpoint, "no backend is ready"))?;
        Ok(Self { backend, settings, attempt })
    }
}

fn misconfigured(why: &str) -> Error {
    Error::new(Flag::Misconfigured, "the route leads nowhere").with_detail(why)
}

/// Consistent hash of the client's address; a connection offers nothing else to hash.
pub(super) fn source_hash(cluster: &ClusterState, client: IpAddr) -> Option<u64> {
    match &cluster.settings().load_balancer {
        LoadBalancer::ConsistentHash { source: source @ HashSource::SourceIp, .. } => {
            hash_of(source, &http::HeaderMap::new(), client, "").hash
        }
        _ => None,
    }
}
