//! Target of a connection: a backend by weight, and its endpoints one after the other.

use std::{net::IpAddr, sync::Arc};

use pailou_snapshot::{Forward, HashSource, LoadBalancer, Timeouts};
use smallvec::SmallVec;

use super::Session;
use crate::{
    breaker::Breaker,
    cluster::{Attempt, AttemptOutcome, ClusterSettings, ClusterState, EndpointId, hash_of},
    error::{Error, Flag},
    proxy_protocol::Ends,
    runtime::Runtime,
    upstream::{FailureKind, Io, Limits, Upstreams, dial},
    weighted,
};

/// Most endpoints tried for one connection.
const MAX_ATTEMPTS: u32 = 5;

/// A cluster, and the endpoint of it that is next.
pub(super) struct Target {
    cluster: Arc<ClusterState>,
    settings: Arc<ClusterSettings>,
    breaker: Arc<Breaker>,
    forward: Arc<Forward>,
    hash: Option<u64>,
    first: Attempt,
}

/// An open connection to an endpoint, which counts it until it is closed.
pub(super) struct Backend {
    pub(super) io: Io,
    _attempt: Attempt,
}

impl Target {
    /// Chooses a backend and an endpoint of it.
    ///
    /// # Errors
    /// The rule leads nowhere, TLS that was asked for cannot be had, or there is no endpoint.
    pub(super) fn choose(runtime: &Runtime, forward: &Arc<Forward>, client: IpAddr, session: &mut Session) -> Result<Self, Error> {
        let backends = forward.backends.as_ref().map_err(|failure| misconfigured(&failure.0))?;
        let backend = weighted::choose(backends, runtime).ok_or_else(|| misconfigured("the rule has no backend"))?;
        let id = backend.cluster.as_ref().map_err(|failure| misconfigured(&failure.0))?;
        let cluster = Arc::clone(runtime.cluster(*id));
        session.cluster = Some(Arc::clone(&cluster));
        let settings = cluster.current_settings();
        if let Err(failure) = &settings.tls {
            return Err(misconfigured(&failure.0));
        }
        let hash = source_hash(&cluster, client);
        let first = cluster.choose(hash).ok_or_else(|| Error::new(Flag::NoEndpoint, "no backend is ready"))?;
        let breaker = Arc::clone(runtime.breaker(backend.breaker));
        Ok(Self { cluster, settings, breaker, forward: Arc::clone(forward), hash, first })
    }

    /// Opens a connection for a client: to the endpoint that was chosen, then to others.
    ///
    /// # Errors
    /// No endpoint could be reached, or a limit forbids the connection.
    pub(super) async fn dial(self, client: Ends, upstreams: &Upstreams, session: &mut Session) -> Result<Backend, Error> {
        let mut tried: SmallVec<[EndpointId; 4]> = SmallVec::new();
        let mut attempt = self.first;
        loop {
            let endpoint = attempt.endpoint();
            session.attempts += 1;
            session.endpoint = Some(Arc::clone(&endpoint.endpoint().name));
            let clocks = Timeouts { connect: self.forward.connect, ..Timeouts::default() };
            let limits = Limits { breaker: Some(&self.breaker), limits: self.forward.breaker.as_ref() };
            let destination = dial(&self.settings, endpoint, &clocks, limits).map_err(|failure| misconfigured(&failure.0))?;
            let destination = destination.on_behalf_of(client);
            let failure = match upstreams.connect(&destination).await {
                Ok((io, _)) => {
                    attempt.report(AttemptOutcome::Success);
                    return Ok(Backend { io, _attempt: attempt });
                }
                Err(FailureKind::Overflow(overflow)) => return Err(Error::new(Flag::Overflow, overflow.to_string())),
                Err(failure) => failure,
            };
            attempt.report(AttemptOutcome::ConnectFailure);
            let unreachable = || Error::new(Flag::ConnectFailure, "no backend can be reached").with_detail(failure.to_string());
            tried.push(attempt.id());
            let next = self.cluster.choose_excluding(self.hash, &tried).filter(|next| !tried.contains(&next.id()));
            attempt = next.filter(|_| session.attempts < MAX_ATTEMPTS).ok_or_else(unreachable)?;
        }
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
