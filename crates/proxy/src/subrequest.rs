//! Requests of the gateway's own on behalf of one under way: to an endpoint picker, an authorization server, an external processor.

use http::Request;
use pailou_snapshot::{Address, ClusterKey, EndpointKey, Failure, Timeouts, at_point};
use smallvec::SmallVec;

use crate::{
    cluster::{AttemptOutcome, ClusterState, EndpointId},
    request_body::RequestBody,
    upstream::{Exchange, FailureKind, Limits, SendFailure, Upstreams, dial},
    worker::Connection,
};

/// How many endpoints are tried where no connection can be made.
const MAX_ATTEMPTS: usize = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SubrequestError {
    #[error("there is no ready endpoint")]
    NoEndpoint,
    #[error("{}", .0.0)]
    Tls(Failure),
    #[error("{0}")]
    Send(Box<SendFailure>),
}

/// Sends what `make` makes, for an endpoint and anew for each that is tried, over the connections of a client's worker.
pub(crate) async fn send<T>(
    cluster: &ClusterState,
    connection: &Connection,
    timeouts: &Timeouts,
    make: impl Fn(&Address) -> (Request<RequestBody>, T),
) -> Result<(Exchange, T), SubrequestError> {
    send_over(cluster, &connection.worker.upstreams, timeouts, make, || true).await
}

/// The same over any connections, and to another endpoint only while it may be sent again.
pub(crate) async fn send_over<T>(
    cluster: &ClusterState,
    upstreams: &Upstreams,
    timeouts: &Timeouts,
    make: impl Fn(&Address) -> (Request<RequestBody>, T),
    may_repeat: impl Fn() -> bool,
) -> Result<(Exchange, T), SubrequestError> {
    let settings = cluster.current_settings();
    let mut tried: SmallVec<[EndpointId; 4]> = SmallVec::new();
    loop {
        let attempt = cluster.choose_excluding(None, &tried).ok_or(SubrequestError::NoEndpoint)?;
        tried.push(attempt.id());
        let destination = dial(&settings, attempt.endpoint(), timeouts, Limits::default()).map_err(SubrequestError::Tls)?;
        let (request, made) = make(destination.address);
        match upstreams.send_request(&destination, request).await {
            Ok(exchange) => return Ok((exchange, made)),
            Err(failure) => {
                attempt.report(AttemptOutcome::ConnectFailure);
                let connects = matches!(
                    failure.kind,
                    FailureKind::Resolve(_)
                        | FailureKind::Connect { .. }
                        | FailureKind::ConnectTimeout(_)
                        | FailureKind::Tls { .. }
                        | FailureKind::Refused
                );
                if !connects || !may_repeat() || tried.len() >= MAX_ATTEMPTS {
                    return Err(SubrequestError::Send(failure));
                }
            }
        }
    }
}

/// One of a server's clusters, by weight.
pub(crate) fn choose<T>(backends: &[(u32, T)]) -> Option<&T> {
    let total: u64 = backends.iter().map(|(weight, _)| u64::from(*weight)).sum();
    let point = if backends.len() > 1 && total > 0 { fastrand::u64(..total) } else { 0 };
    at_point(backends, |(weight, _)| *weight, point).map(|(_, cluster)| cluster)
}

/// The name by which a cluster's endpoint is asked.
pub(crate) fn host(key: &ClusterKey, address: &Address) -> String {
    match &key.endpoints {
        EndpointKey::Service(name, port) => format!("{}.{}.svc:{port}", name.name, name.namespace),
        _ => address.to_string(),
    }
}
