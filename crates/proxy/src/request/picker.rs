//! A pool's endpoint picker, asked where a request is to go.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{HeaderValue, header};
use pailou_extproc::client::{self, Choice, Verdict};
use pailou_snapshot::{Address, BackendRef, ClusterKey, ClusterKind, FailureMode, PickerKind};
use tokio::time::{Instant, timeout_at};

use super::{Chosen, outgoing::Outgoing};
use crate::{
    cluster::ClusterState,
    context::{self, Share},
    error::{Error, Flag},
    request_body::RequestBody,
    request_input::ReadBody,
    request_log::RequestLog,
    runtime::Runtime,
    subrequest,
    worker::Connection,
};

/// A body that comes back may be longer than what was sent by this many bytes.
const MAX_GROWTH: usize = 1 << 20;

/// The endpoint picker of the pool that a request goes to.
pub(super) struct Picker {
    key: ClusterKey,
    cluster: Option<Arc<ClusterState>>,
    pool: Arc<ClusterState>,
    failure_mode: FailureMode,
    timeout: Duration,
}

/// Why a picker's word is not to be had.
#[derive(Debug, thiserror::Error)]
enum SubrequestError {
    #[error("the endpoint picker: {0}")]
    Unreached(#[from] subrequest::SubrequestError),
    #[error(transparent)]
    Failure(#[from] client::Failure),
    #[error("the endpoint picker did not answer within {} s", .0.as_secs_f32())]
    Late(Duration),
    #[error("the endpoint picker chose {0}, which is no ready endpoint of the pool")]
    Outside(SocketAddr),
}

impl Picker {
    /// The picker of the backend, where it is a pool with one of its own.
    pub(super) fn of(runtime: &Runtime, backend: &BackendRef) -> Option<Self> {
        let id = *backend.cluster.as_ref().ok()?;
        let ClusterKind::Pool(pool) = &runtime.snapshot().cluster(id).kind else { return None };
        let PickerKind::External { cluster: key, failure_mode, timeout, .. } = &pool.picker else { return None };
        let (cluster, pool) = (runtime.find(key).cloned(), runtime.cluster(id).clone());
        Some(Self { key: key.clone(), cluster, pool, failure_mode: *failure_mode, timeout: *timeout })
    }

    /// Asks it. `None`: it does not answer, and the gateway is to choose by itself (`failureMode: FailOpen`).
    ///
    /// # Errors
    /// The answer that the picker gives; 503 if it does not answer (`FailClose`); 504 if the request's time is up.
    pub(super) async fn ask(
        self,
        route: &Chosen<'_>,
        connection: &Connection,
        outgoing: &Outgoing,
        call: Option<&ReadBody>,
        record: &RequestLog,
    ) -> Result<Option<Choice>, Error> {
        let request = route.entry.rule.policy.timeouts.request.map(|limit| Instant::from_std(record.started) + limit);
        let own = Instant::now() + self.timeout;
        let first = request.map_or(own, |request| request.min(own));
        let silence = match timeout_at(first, self.verdict(route, connection, outgoing, call)).await {
            Ok(Ok(Verdict::LocalReply(reply))) => return Err(Error::local_reply(reply)),
            Ok(Ok(Verdict::Go(choice))) => match self.in_pool(*choice) {
                Ok(choice) => return Ok(Some(choice)),
                Err(silence) => silence,
            },
            Ok(Err(SubrequestError::Failure(client::Failure::NoRoom))) => return Err(context::full()),
            Ok(Err(silence)) => silence,
            Err(_) if request == Some(first) => {
                return Err(Error::new(Flag::Timeout, "the endpoint picker did not answer in time"));
            }
            Err(_) => SubrequestError::Late(self.timeout),
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
        call: Option<&ReadBody>,
    ) -> Result<Verdict, SubrequestError> {
        let cluster = self.cluster.as_ref().ok_or(subrequest::SubrequestError::NoEndpoint)?;
        let max_body = call.map_or(0, |call| call.text().len()).saturating_add(MAX_GROWTH);
        let timeouts = &route.entry.rule.policy.timeouts;
        let (exchange, pending) = subrequest::send(cluster, connection, timeouts, |address| {
            let pieces = call.map(|call| call.text().clone().into());
            let (request, pending) = outgoing.endpoint_request(connection.tls.is_some(), pieces, max_body).into_http();
            let mut request = request.map(RequestBody::asked);
            let host = HeaderValue::from_str(&subrequest::host(&self.key, address));
            request.headers_mut().insert(header::HOST, host.unwrap_or(HeaderValue::from_static("endpoint-picker")));
            (request, pending)
        })
        .await?;
        let room = Share::new(connection.worker.context.clone());
        Ok(pending.into_conversation(exchange.response, Box::new(room))?.verdict().await?)
    }

    /// No other endpoints than the pool's own are gone to.
    fn in_pool(&self, mut choice: Choice) -> Result<Choice, SubrequestError> {
        let first = choice.endpoints.first().copied();
        choice.endpoints.retain(|endpoint| self.pool.has_endpoint(&Address::Socket(*endpoint)));
        match first {
            Some(first) if choice.endpoints.is_empty() => Err(SubrequestError::Outside(first)),
            _ => Ok(choice),
        }
    }
}
