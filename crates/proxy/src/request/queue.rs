//! A request's wait in the queue of a saturated pool.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderName};
use pailou_picker::{Eviction, FAIRNESS_HEADER, PickError, Picked, QueueTerms, TIMEOUT_HEADER, queue_timeout};
use pailou_snapshot::{Action, BackendRef, ClusterId, Rule};
use parking_lot::Mutex;

use super::{Chosen, outgoing::Outgoing, overflow, pool_target::PoolTarget, selection::Selection, target::Target};
use crate::{breaker::Permit, cluster::ClusterState, error::Error, filter::ClientId, request_log::RequestLog, runtime::Runtime};

static FAIRNESS: HeaderName = HeaderName::from_static(FAIRNESS_HEADER);
static TIMEOUT: HeaderName = HeaderName::from_static(TIMEOUT_HEADER);

/// Whether requests of a rule may wait for one of its backends.
pub(super) fn may_wait(rule: &Rule, runtime: &Runtime) -> bool {
    let Action::Forward(backends) = &rule.action else { return false };
    let queues = |id: &ClusterId| runtime.cluster(*id).pool().is_some_and(|pool| pool.has_queueing());
    backends.iter().any(|backend| backend.cluster.as_ref().is_ok_and(queues))
}

/// A request's place at its backend's breaker. Where the pool's configuration has it wait in a queue, the gateway's or an endpoint picker's, it
/// takes the place when it is sent: [`Permit::count`]. Other pickers may hang, and the breaker bounds the requests that wait for them.
///
/// # Errors
/// 503 where the breaker has no room.
pub(super) fn permit(rule: &Rule, runtime: &Runtime, backend: &BackendRef) -> Result<Permit, Error> {
    let breaker = runtime.breaker(backend.breaker);
    let pool = backend.cluster.as_ref().ok().and_then(|id| runtime.cluster(*id).pool());
    match pool.is_some_and(|pool| pool.has_queueing() || pool.queues_at_external_picker()) {
        true => Ok(breaker.request_later()),
        false => breaker.request(rule.policy.breaker.as_ref()).map_err(overflow),
    }
}

/// Signal of the place that a request has at present: another one after it has turned to another backend.
#[derive(Default)]
pub(super) struct CurrentEviction(Mutex<Option<(Arc<Eviction>, Arc<ClusterState>)>>);

impl CurrentEviction {
    /// The request has turned to the place of this selection.
    pub(super) fn turn_to(&self, selection: &Selection) {
        *self.0.lock() = selection.eviction().map(|eviction| (eviction, Arc::clone(selection.cluster())));
    }

    /// The pool whose place is to be given up; else the task of this context is woken when one is.
    fn poll_given(&self, context: &Context<'_>) -> Option<Arc<ClusterState>> {
        let current = self.0.lock();
        let (eviction, pool) = current.as_ref()?;
        eviction.poll_given(context).then(|| Arc::clone(pool))
    }
}

/// Signal for a request with the place of this selection; `None` where it need not give it up, nor can turn to another backend.
pub(super) fn current_eviction(selection: &Selection, may_turn: bool) -> Option<Arc<CurrentEviction>> {
    if !may_turn && selection.eviction().is_none() {
        return None;
    }
    let current = CurrentEviction::default();
    current.turn_to(selection);
    Some(Arc::new(current))
}

/// Runs to the end unless the request is evicted.
///
/// # Errors
/// The run's, and 429 where it is evicted.
pub(super) async fn unless_evicted<T>(current: &CurrentEviction, run: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut run = pin!(run);
    poll_fn(|context| match run.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(answer),
        // After the run, which may have turned to another backend.
        Poll::Pending => match current.poll_given(context) {
            Some(pool) => Poll::Ready(Err(Error::evicted(&pool.key().endpoints))),
            None => Poll::Pending,
        },
    })
    .await
}

/// Waits until an endpoint of the pool has room and it is the request's turn.
///
/// # Errors
/// The queue's refusal; 504 if the request's own time is up.
pub(super) async fn wait(
    target: PoolTarget<'_>,
    route: &Chosen<'_>,
    outgoing: &mut Outgoing,
    record: &mut RequestLog,
) -> Result<Target, Error> {
    record.begin_wait();
    let picked = wait_for_room(&target, route, &outgoing.headers, record).await;
    record.end_wait();
    Ok(target.picked(picked?, outgoing))
}

async fn wait_for_room(
    target: &PoolTarget<'_>,
    route: &Chosen<'_>,
    headers: &HeaderMap,
    record: &RequestLog,
) -> Result<Picked, Error> {
    // A body that waits is counted with the others that do.
    let Ok(_waiting) = target.begin_wait() else {
        let retry_after = Duration::from_secs(1);
        return Err(target
            .refusal(PickError::Saturated { retry_after })
            .with_detail("too many request bodies wait in the gateway"));
    };
    let value = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    // A client that has authenticated does not choose its flow.
    let flow = route.client_id.map(ClientId::name);
    let flow = flow.as_deref().or_else(|| value(&FAIRNESS)).filter(|flow| !flow.is_empty());
    let limits = [route.entry.rule.policy.timeouts.request, route.policy.timeouts.max_stream];
    let deadline = limits.into_iter().flatten().min().map(|limit| record.started + limit);
    let timeout = value(&TIMEOUT).and_then(queue_timeout);
    let terms = QueueTerms { priority: target.priority, flow, timeout, deadline };
    let picked = target.cluster.wait_for_room(&target.request(), &terms).await;
    picked.map_err(|error| target.refusal(error))
}
