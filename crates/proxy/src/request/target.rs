//! Target of a request: the cluster that was chosen, its endpoints in the order in which they are tried, and the body as they
//! are to get it.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pailou_ai::{BodyKind, Pieces, splice_model};
use pailou_envoy_proto::header_mutation;
use pailou_extproc::{
    Room,
    client::{Choice, Listener},
    endpoints::Subset,
};
use pailou_picker::{Affinity, OBJECTIVE_HEADERS, PickError, PickRequest, criticality};
use pailou_snapshot::{ClusterKind, LoadBalancer, Pool};

use super::{
    Chosen,
    outgoing::Outgoing,
    picker::Picker,
    prompt::{KnownPrompt, TokenPool, engine_name},
    selection::{Selection, no_endpoint},
    session::Session,
    tried::Tried,
    unreadable,
};
use crate::{
    cluster::{AttemptOutcome, ClusterSettings, ClusterState, EndpointState, EndpointToken, hash_of},
    error::{Error, Flag},
    headers,
    request_input::ReadBody,
    request_log::RequestLog,
    runtime::Runtime,
    worker::Connection,
};

/// Headers that name the InferenceObjective of a request, the newer name first.
static OBJECTIVES: [HeaderName; 2] = [HeaderName::from_static(OBJECTIVE_HEADERS[0]), HeaderName::from_static(OBJECTIVE_HEADERS[1])];

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
    /// Its endpoints.
    pub(super) selection: Selection,
}

impl Target {
    /// Decides where a request goes.
    ///
    /// # Errors
    /// 503 where the pool has no endpoint, 429 where it is saturated and the request can be shed; 400 or 415 where a pool cannot read the
    /// body of a model call.
    fn new(
        route: &Chosen<'_>,
        outgoing: &mut Outgoing,
        call: Option<&ReadBody>,
        prompt: Option<KnownPrompt>,
    ) -> Result<Self, Error> {
        let Ok(id) = &route.backend.cluster else { return Err(Error::misconfigured("the backend has no cluster")) };
        let session = route.session.and_then(Session::endpoint);
        Self::of(route.runtime, *id, route.client, outgoing, call, (session, prompt))
    }

    /// Decides where a request goes, by the pool's endpoint picker where it has one of its own.
    ///
    /// # Errors
    /// As [`Target::new`]; and the picker's refusal, or its failure.
    pub(super) async fn aim(
        route: &Chosen<'_>,
        picker: Option<Picker>,
        connection: &Connection,
        outgoing: &mut Outgoing,
        call: Option<&ReadBody>,
        record: &RequestLog,
    ) -> Result<Self, Error> {
        let choice = match picker {
            // Boxed: most requests have none, and would carry the room it needs.
            Some(picker) => Box::pin(picker.ask(route, connection, outgoing, call, record)).await?,
            None => None,
        };
        match choice {
            Some(choice) => Self::chosen(route, choice, outgoing, call),
            None => {
                let prompt = match TokenPool::of(route) {
                    // Boxed: most pools do not look them up, and would carry the room it needs.
                    Some(pool) => Box::pin(pool.prompt(outgoing, call)).await,
                    None => None,
                };
                Self::new(route, outgoing, call, prompt)
            }
        }
    }

    /// The same for any cluster: a mirror's.
    pub(super) fn of(
        runtime: &Runtime,
        id: pailou_snapshot::ClusterId,
        client: IpAddr,
        outgoing: &mut Outgoing,
        call: Option<&ReadBody>,
        (session, prompt): (Option<EndpointToken>, Option<KnownPrompt>),
    ) -> Result<Self, Error> {
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
            let target = Self::in_pool(pool.clone(), cluster, settings.clone(), outgoing, call, (affinity, prompt))?;
            return Ok(Self { set_cookie, ..target });
        }
        let selection = Selection::balanced(cluster, hash, first);
        let (body, target_model, kept_name, listener) = (None, None, None, None);
        Ok(Self { settings, body, room: None, target_model, kept_name, strips_usage: false, set_cookie, listener, selection })
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
        let body = choice.body.map(Pieces::from_iter);
        let target_model = body.as_ref().zip(call).and_then(|(body, call)| other_model(body, call, outgoing));
        Ok(Self {
            settings: cluster.current_settings(),
            body,
            room: Some(choice.room),
            target_model,
            kept_name: None,
            strips_usage: false,
            set_cookie: None,
            listener: choice.listener.map(Box::new),
            selection: Selection::picked(cluster, picked),
        })
    }

    fn in_pool(
        pool: Arc<Pool>,
        cluster: Arc<ClusterState>,
        settings: Arc<ClusterSettings>,
        outgoing: &mut Outgoing,
        call: Option<&ReadBody>,
        (affinity, prompt): (Option<Affinity>, Option<KnownPrompt>),
    ) -> Result<Self, Error> {
        let scan = call.and_then(|call| call.scan());
        if scan.is_none() {
            unreadable::check(outgoing, call)?;
        }
        let asked = scan.and_then(|scan| scan.model.as_deref()).unwrap_or("");
        let model = pool.model(asked);
        let (target_model, tokens) = match prompt {
            Some(prompt) => (prompt.target_model, Some(prompt.tokens)),
            None => (engine_name(&pool, asked), None),
        };
        let body = match (call, scan, &target_model) {
            (Some(call), Some(scan), Some(name)) => Some(splice_model(call.text(), scan, name)),
            _ => None,
        };
        let objective = OBJECTIVES.iter().find_map(|name| outgoing.headers.get(name)?.to_str().ok());
        let subset = outgoing.subset().map(|subset| eligible(&cluster, subset));
        let request = PickRequest {
            model: target_model.as_deref().unwrap_or(asked),
            prompt: call.zip(scan).and_then(|(call, scan)| call.text().get(scan.prompt.clone()?)).unwrap_or(&[]),
            cache_salt: scan.and_then(|scan| scan.cache_salt.as_deref()),
            criticality: criticality(&pool, model.map(|model| &**model), objective),
            input_bytes: call.map_or(0, |call| call.text().len()),
            max_tokens: scan.and_then(|scan| scan.max_tokens),
            subset: subset.as_deref(),
            tokens: tokens.as_ref(),
            affinity,
            ..PickRequest::default()
        };
        let picked = cluster.pick(&request).map_err(|error| match error {
            PickError::NoEndpoints => no_endpoint(&cluster),
            PickError::Saturated { retry_after } => {
                Error::new(Flag::Shed, "the model is busy and this request can wait; try again later").with_retry_after(retry_after)
            }
        })?;
        let selection = Selection::picked(cluster, picked);
        if body.is_some() {
            headers::remove_digests(&mut outgoing.headers);
            if call.is_some_and(|call| call.decoded.is_some()) {
                outgoing.headers.remove(header::CONTENT_ENCODING);
            }
        }
        let keeps_name = target_model.is_some() && model.is_some_and(|model| model.keeps_name);
        let kept_name = keeps_name.then(|| asked.into());
        Ok(Self {
            settings,
            body,
            room: None,
            target_model,
            kept_name,
            strips_usage: false,
            set_cookie: None,
            listener: None,
            selection,
        })
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

/// The endpoints of a pool that are in a subset.
fn eligible(cluster: &ClusterState, subset: &str) -> Vec<SocketAddr> {
    let subset = Subset::parse([subset]);
    let endpoints = cluster.endpoints();
    let addresses = endpoints.iter().filter_map(|endpoint| endpoint.endpoint().address.socket());
    addresses.filter(|address| subset.contains(*address)).collect()
}
