//! Target of a request: the cluster that was chosen, its endpoints in the order in which they are tried, and the body as they
//! are to get it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pailou_ai::{BodyKind, Pieces, splice, transfer_edits};
use pailou_envoy_proto::header_mutation;
use pailou_extproc::{
    Room,
    client::{Choice, Listener},
};
use pailou_picker::{Affinity, PickError, PickRequest};
use pailou_snapshot::{ClusterKind, LoadBalancer};

use super::{
    Chosen,
    disaggregation::Plan,
    outgoing::Outgoing,
    picker::Picker,
    pool_target::PoolTarget,
    prompt::{KnownPrompt, TokenPool},
    queue,
    selection::{Selection, no_endpoint},
    session::Session,
    tried::Tried,
};
use crate::{
    cluster::{AttemptOutcome, ClusterSettings, EndpointState, EndpointToken, hash_of},
    error::Error,
    headers,
    request_input::ReadBody,
    request_log::RequestLog,
    runtime::Runtime,
    worker::Connection,
};

/// A cluster with what decides the order of its endpoints for one request.
pub(super) struct Target {
    pub(super) settings: Arc<ClusterSettings>,
    /// The body as the target wants it, where that is not as the client sent it.
    pub(super) body: Option<Pieces>,
    /// Room that it takes, where an endpoint picker made it.
    room: Option<Box<dyn Room>>,
    /// The name that the body has in place of the client's.
    pub(super) target_model: Option<Arc<str>>,
    /// The name that the client gave, where responses are to have it.
    pub(super) kept_name: Option<Box<str>>,
    /// A stream is to end with its usage, which the client did not ask for.
    pub(super) strips_usage: bool,
    /// A cookie for the client, by which it comes back to the same endpoint.
    pub(super) set_cookie: Option<HeaderValue>,
    /// An endpoint picker that is to hear of the response. Apart: a target without one is half as large.
    pub(super) listener: Option<Box<Listener>>,
    /// Plan by which another endpoint may prefill. Apart, as the listener.
    pub(super) plan: Option<Box<Plan>>,
    /// The body goes without what the client says of other engines' KV cache, which it has.
    pub(super) takes_transfer: bool,
    /// Its endpoints.
    pub(super) selection: Selection,
}

impl Target {
    /// Decides where a request goes, by the pool's endpoint picker where it has one of its own. With time, it may wait for an endpoint
    /// with room.
    ///
    /// # Errors
    /// 503 where the pool has no endpoint, 429 where it is saturated and the request can be shed, or has waited in vain; 400 or 415 where a
    /// pool cannot read the body of a model call; and the endpoint picker's refusal, or its failure.
    pub(super) async fn aim(
        route: &Chosen<'_>,
        picker: Option<Picker>,
        connection: &Connection,
        outgoing: &mut Outgoing,
        call: Option<&ReadBody>,
        record: &mut RequestLog,
        haste: Haste,
    ) -> Result<Self, Error> {
        let choice = match picker {
            // Boxed: most requests have none, and would carry the room it needs.
            Some(picker) => Box::pin(picker.ask(route, connection, outgoing, call, record)).await?,
            None => None,
        };
        if let Some(choice) = choice {
            return Self::chosen(route, choice, outgoing, call);
        }
        let Ok(id) = &route.backend.cluster else { return Err(Error::misconfigured("the backend has no cluster")) };
        let session = route.session.and_then(Session::endpoint);
        let prompt = match TokenPool::of(route) {
            // Boxed: most pools do not look them up, and would carry the room it needs.
            Some(pool) => Box::pin(pool.prompt(outgoing, call)).await,
            None => None,
        };
        match Self::of(route.runtime, *id, route.client, outgoing, call, (session, prompt, haste))? {
            Aimed::At(target) => Ok(target),
            Aimed::Waits(target, set_cookie) => {
                let target = Box::pin(queue::wait(*target, route, outgoing, record)).await?;
                Ok(Self { set_cookie, ..target })
            }
        }
    }

    /// The same for a mirror: a copy never waits, and none is sent before requests that do.
    ///
    /// # Errors
    /// As [`Target::aim`].
    pub(super) fn of_mirror(
        runtime: &Runtime,
        id: pailou_snapshot::ClusterId,
        client: IpAddr,
        outgoing: &mut Outgoing,
        call: Option<&ReadBody>,
    ) -> Result<Self, Error> {
        match Self::of(runtime, id, client, outgoing, call, (None, None, Haste::Copy))? {
            Aimed::At(target) => Ok(target),
            Aimed::Waits(target, _) => Err(target.refusal(PickError::Saturated { retry_after: Duration::from_secs(1) })),
        }
    }

    /// The same for any cluster.
    fn of<'a>(
        runtime: &Runtime,
        id: pailou_snapshot::ClusterId,
        client: IpAddr,
        outgoing: &mut Outgoing,
        call: Option<&'a ReadBody>,
        (session, prompt, haste): (Option<EndpointToken>, Option<KnownPrompt>, Haste),
    ) -> Result<Aimed<'a>, Error> {
        let cluster = runtime.cluster(id).clone();
        let settings = cluster.current_settings();
        let first = session.and_then(|token| cluster.of_session(token));
        let (hash, set_cookie) = match &settings.cluster.load_balancer {
            LoadBalancer::ConsistentHash { source, .. } => {
                let hashed = hash_of(source, &outgoing.headers, client, outgoing.query());
                (hashed.hash, hashed.set_cookie)
            }
            _ => (None, None),
        };
        if let ClusterKind::Pool(pool) = &settings.cluster.kind {
            let by_hash = || hash.and_then(|hash| cluster.of_hash(hash));
            let slot = |endpoint: Option<Arc<EndpointState>>| endpoint.and_then(|endpoint| endpoint.slot());
            let affinity = match slot(first) {
                Some(slot) => Some(Affinity { slot, while_saturated: true }),
                None => slot(by_hash()).map(|slot| Affinity { slot, while_saturated: false }),
            };
            let target = PoolTarget::new(pool, cluster, settings.clone(), (outgoing, call), (affinity, prompt))?;
            let picked = match haste {
                Haste::MayWait => target.cluster.pick_if_room(&target.request()),
                Haste::Copy => target.cluster.pick_if_room(&PickRequest { is_copy: true, ..target.request() }),
                Haste::Now => target.cluster.pick(&target.request()),
            };
            return match picked {
                Ok(picked) => Ok(Aimed::At(Self { set_cookie, ..target.picked(picked, outgoing) })),
                Err(error) if haste == Haste::MayWait && target.may_wait(error) => Ok(Aimed::Waits(Box::new(target), set_cookie)),
                Err(error) => Err(target.refusal(error)),
            };
        }
        Ok(Aimed::At(Self { set_cookie, ..Self::plain(settings, Selection::balanced(cluster, hash, first)) }))
    }

    /// Target that an endpoint picker chose, with its changes to the request.
    ///
    /// # Errors
    /// 500 where the backend has no cluster; 503 where the endpoints have just gone.
    fn chosen(route: &Chosen<'_>, choice: Choice, outgoing: &mut Outgoing, call: Option<&ReadBody>) -> Result<Self, Error> {
        let Ok(id) = &route.backend.cluster else { return Err(Error::misconfigured("the backend has no cluster")) };
        let cluster = route.runtime.cluster(*id).clone();
        let input_bytes = choice.body.iter().flatten().map(Bytes::len).sum();
        let picked = cluster.pool().and_then(|pool| pool.hold(&choice.endpoints, input_bytes));
        let picked = picked.ok_or_else(|| no_endpoint(&cluster))?;
        if choice.body.is_some() {
            headers::remove_digests(&mut outgoing.headers);
        }
        choice.headers.iter().for_each(|mutation| header_mutation::apply(mutation, &mut outgoing.headers));
        let mut body = choice.body.map(Pieces::from_iter);
        if cluster.pool().is_some_and(|pool| pool.has_roles())
            && let Some(call) = call.filter(|call| call.scan().is_some_and(|scan| scan.has_transfer))
        {
            let text = body.map_or_else(|| call.text().clone(), |body| body.to_bytes());
            let edits = transfer_edits(&text).unwrap_or_default();
            body = Some(splice(&text, edits));
        }
        let target_model = body.as_ref().zip(call).and_then(|(body, call)| other_model(body, call, outgoing));
        let plain = Self::plain(cluster.current_settings(), Selection::picked(cluster, picked));
        Ok(Self { body, room: Some(choice.room), target_model, listener: choice.listener.map(Box::new), ..plain })
    }

    /// A target as its cluster has it.
    pub(super) fn plain(settings: Arc<ClusterSettings>, selection: Selection) -> Self {
        Self {
            settings,
            body: None,
            room: None,
            target_model: None,
            kept_name: None,
            strips_usage: false,
            set_cookie: None,
            listener: None,
            plan: None,
            takes_transfer: false,
            selection,
        }
    }

    /// Whether an endpoint picker has made the body.
    pub(super) fn has_pickers_body(&self) -> bool {
        self.room.is_some() && self.body.is_some()
    }

    /// Whether an attempt that failed like this moves on to the pool's next best endpoint by itself, without a retry policy;
    /// if so, it has moved on.
    pub(super) fn fail_over(&mut self, tried: &Tried) -> bool {
        let elsewhere = match tried {
            Tried::Answered(response) => response.head.status == StatusCode::SERVICE_UNAVAILABLE,
            Tried::Failed(failed) => failed.outcome == AttemptOutcome::ConnectFailure || failed.before_content,
        };
        elsewhere && self.selection.advance()
    }
}

/// Whether a request may wait for an endpoint with room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    MayWait,
    /// A mirror's copy: it does not wait, and goes only where there is room.
    Copy,
    /// It has had its turn at this cluster.
    Now,
}

/// A request's target, or the pool that it waits for, with a cookie for the client.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once; nearly every request has a target")]
enum Aimed<'a> {
    At(Target),
    Waits(Box<PoolTarget<'a>>, Option<HeaderValue>),
}

/// The model of a body that an endpoint picker has made, where it is not the client's.
fn other_model(body: &Pieces, call: &ReadBody, outgoing: &Outgoing) -> Option<Arc<str>> {
    let asked = call.model()?;
    if is_same(body, call.text()) {
        return None;
    }
    let body = body.to_bytes();
    let content_type = outgoing.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let model = BodyKind::from_content_type(content_type)?.scan(content_type, &body).ok()?.model?;
    (*model != *asked && !model.is_empty()).then(|| model.into())
}

/// Whether the pieces are this text, which mostly their length tells, and no copy of them.
fn is_same(body: &Pieces, mut text: &[u8]) -> bool {
    body.len() == text.len()
        && body.iter().all(|piece| {
            let Some(rest) = text.strip_prefix(&**piece) else { return false };
            text = rest;
            true
        })
}
