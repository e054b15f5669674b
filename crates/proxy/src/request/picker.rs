//! A pool's endpoint picker, asked where a request is to go.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, header};
use pailou_config::snapshot::{Address, BackendRef, ClusterKey, ClusterKind, EndpointKey, Failure, FailureMode, PickerKind};
use pailou_extproc::client::{self, Choice, Verdict};
use smallvec::SmallVec;
use tokio::time::{Instant, timeout_at};

use super::{Chosen, call::Input, outgoing::Outgoing};
use crate::{
    body::RequestBody,
    cluster::{ClusterState, EndpointId, Outcome},
    error::{Error, Flag},
    live::Live,
    record::Record,
    server::Connection,
    upstream::{Destination, FailureKind, SendFailure},
};

/// How long a picker may take, which may hold requests back until there is room for them.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many of its replicas are tried where no connection can be made.
const MAX_ATTEMPTS: usize = 3;
/// A body that comes back may be longer than what was sent by this many bytes.
const MAX_GROWTH: usize = 1 << 20;

/// The endpoint picker of the pool that a request goes to.
pub(super) struct Picker {
    key: ClusterKey,
    cluster: Option<Arc<ClusterState>>,
    pool: Arc<ClusterState>,
    failure_mode: FailureMode,
}

/// Why a picker's word is not to be had.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error("the endpoint picker has no ready endpoint")]
    NoEndpoint,
    #[error("the endpoint picker: {}", .0.0)]
    Tls(Failure),
    #[error("the endpoint picker: {0}")]
    Send(Box<SendFailure>),
    #[error(transparent)]
    Failure(#[from] client::Failure),
    #[error("the endpoint picker did not answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("the endpoint picker chose {0}, which is no ready endpoint of the pool")]
    Outside(SocketAddr),
}

impl Picker {
    /// The picker of the backend, where it is a pool with one of its own.
    pub(super) fn of(live: &Live, backend: &BackendRef) -> Option<Self> {
        let id = *backend.cluster.as_ref().ok()?;
        let ClusterKind::Pool(pool) = &live.snapshot().cluster(id).kind else { return None };
        let PickerKind::External { cluster: key, failure_mode } = &pool.picker else { return None };
        let (cluster, pool) = (live.find(key).cloned(), live.cluster(id).clone());
        Some(Self { key: key.clone(), cluster, pool, failure_mode: *failure_mode })
    }

    /// Asks it. `None`: it does not answer, and the gateway is to choose by itself (`failureMode: FailOpen`).
    ///
    /// # Errors
    /// What the picker wants the client to be told; 503 where it does not answer (`FailClose`); 504 where the request's time is up.
    pub(super) async fn ask(
        self,
        route: &Chosen<'_>,
        connection: &Connection,
        outgoing: &Outgoing,
        input: &Input,
        record: &Record,
    ) -> Result<Option<Choice>, Error> {
        let request = route.entry.rule.policy.timeouts.request.map(|limit| Instant::from_std(record.started) + limit);
        let own = Instant::now() + PATIENCE;
        let first = request.map_or(own, |request| request.min(own));
        let silence = match timeout_at(first, self.verdict(route, connection, outgoing, input)).await {
            Ok(Ok(Verdict::Immediate(immediate))) => return Err(Error::immediate(immediate)),
            Ok(Ok(Verdict::Go(choice))) => match self.in_pool(*choice) {
                Ok(choice) => return Ok(Some(choice)),
                Err(silence) => silence,
            },
            Ok(Err(silence)) => silence,
            Err(_) if request == Some(first) => {
                return Err(Error::new(Flag::Timeout, "the endpoint picker did not answer in time"));
            }
            Err(_) => Silence::Late,
        };
        let detail = format!("{}: {silence}", self.key.endpoints);
        match self.failure_mode {
            FailureMode::FailOpen => {
                tracing::debug!(%detail, "the built-in picker chooses");
                Ok(None)
            }
            FailureMode::FailClose => {
                Err(Error::new(Flag::Picker, "no backend could be chosen for this request").with_detail(detail))
            }
        }
    }

    async fn verdict(
        &self,
        route: &Chosen<'_>,
        connection: &Connection,
        outgoing: &Outgoing,
        input: &Input,
    ) -> Result<Verdict, Silence> {
        let cluster = self.cluster.as_ref().ok_or(Silence::NoEndpoint)?;
        let settings = cluster.settings();
        let tls = cluster.tls().map_err(Silence::Tls)?;
        let max_body = usize::try_from(input.length()).unwrap_or(usize::MAX).saturating_add(MAX_GROWTH);
        let mut tried: SmallVec<[EndpointId; 4]> = SmallVec::new();
        loop {
            let attempt = cluster.choose_excluding(None, &tried).ok_or(Silence::NoEndpoint)?;
            tried.push(attempt.id());
            let address = &attempt.endpoint().endpoint().address;
            let (request, asking) = outgoing.question(connection.tls.is_some(), input.pieces(), max_body).ask();
            let mut request = request.map(RequestBody::asked);
            request.headers_mut().insert(header::HOST, self.host(address));
            let destination = Destination {
                tls: tls.as_ref(),
                protocol: settings.protocol,
                tcp_keepalive: settings.tcp_keepalive,
                ..Destination::new(address, &route.entry.rule.policy.timeouts)
            };
            match connection.worker.upstreams.send_request(&destination, request).await {
                Ok(exchange) => return Ok(asking.answered(exchange.response)?.verdict().await?),
                Err(failure) => {
                    attempt.report(Outcome::ConnectFailure);
                    let connects = matches!(
                        failure.kind,
                        FailureKind::Resolve(_)
                            | FailureKind::Connect { .. }
                            | FailureKind::ConnectTimeout(_)
                            | FailureKind::Tls { .. }
                            | FailureKind::Refused
                    );
                    if !connects || tried.len() >= MAX_ATTEMPTS {
                        return Err(Silence::Send(failure));
                    }
                }
            }
        }
    }

    /// No other endpoints than the pool's own are gone to.
    fn in_pool(&self, mut choice: Choice) -> Result<Choice, Silence> {
        let first = choice.endpoints.first().copied();
        choice.endpoints.retain(|endpoint| self.pool.attempt_at(&Address::Socket(*endpoint)).is_some());
        match first {
            Some(first) if choice.endpoints.is_empty() => Err(Silence::Outside(first)),
            _ => Ok(choice),
        }
    }

    fn host(&self, address: &Address) -> HeaderValue {
        let host = match &self.key.endpoints {
            EndpointKey::Service(name, port) => format!("{}.{}.svc:{port}", name.name, name.namespace),
            _ => address.to_string(),
        };
        HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static("endpoint-picker"))
    }
}
