//! Choice of a request's endpoint.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, header};
use pailou_ai::{Api, BodyKind, Dialect, ErrorBody, Pieces, PromptQuestion, Scan, content_coding::Codings, splice, transfer_edits};
use pailou_envoy_proto::ext_proc::ProcessingResponse;
use pailou_extproc::server::{EndpointRequest, answers};
use pailou_picker::{
    DROPPED_REASON_HEADER, FAIRNESS_HEADER, OBJECTIVE_HEADERS, Objective, PickError, PickRequest, Picked, PoolState, PromptForm,
    PromptTokens, QueueOutcome, QueueTerms, TIMEOUT_HEADER, TPOT_HEADERS, TTFT_HEADERS, TokenQuestion, criticality, priority,
    queue_timeout, target_name,
};

use crate::{
    EndpointPicker,
    body::Full,
    metrics::RequestOutcome,
    prefill::{self, Prefill},
};

/// Endpoints for a request, and its changed body.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) picked: Picked,
    /// The place of its prefill, where that is elsewhere.
    pub(crate) prefill: Prefill,
    /// `ip:port[,ip:port…]`, best first.
    pub(crate) endpoints: String,
    /// The body with the name that the engine knows the model by, where it is not the client's.
    pub(crate) changed: Option<Pieces>,
    /// The engine's name for the model and the client's, where responses are to have the client's.
    pub(crate) renamed: Option<(Arc<str>, Box<str>)>,
    /// Reply for the client if the request is evicted, where that may be.
    pub(crate) evicted: Option<Box<ProcessingResponse>>,
}

/// Refusal of a request, with the reply for its client.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) outcome: RequestOutcome,
    pub(crate) reply: Box<ProcessingResponse>,
}

/// Codings in which a body that may name a model comes; `None` where nothing of it can be understood.
pub(crate) fn codings(request: &EndpointRequest) -> Option<Codings> {
    BodyKind::from_content_type(request.header("content-type"))?;
    Codings::of(request.headers.get_all(header::CONTENT_ENCODING).iter().map(HeaderValue::as_bytes))
}

/// A request's body, as far as a decision needs it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Input<'a> {
    /// The body without its codings, where it is of a kind that names a model.
    pub(crate) text: Option<&'a Bytes>,
    /// Bytes of the body as it came.
    pub(crate) length: usize,
}

/// Picks at most `most` endpoints for a request with this body; where none has room, waits for one.
///
/// # Errors
/// There is no endpoint for it, or the picker ends (503); none has room, and it can wait or has waited for as long as it may (429).
pub(crate) async fn decide(
    picker: &EndpointPicker,
    request: &EndpointRequest,
    input: Input<'_>,
    most: usize,
) -> Result<Decision, Refusal> {
    let begun = Instant::now();
    let current = picker.current().ok_or_else(|| no_endpoint(request, "the picker knows no pool"))?;
    let scan = input.text.and_then(|text| understood(request, text));
    let name = scan.as_ref().and_then(|scan| scan.model.as_deref()).unwrap_or("");
    let model = current.pool.model(name).map(|model| &**model);
    let target = model.and_then(target_name).filter(|target| **target != *name && !name.is_empty());
    let objective = OBJECTIVE_HEADERS.iter().find_map(|name| request.header(name));
    let subset = request.subset.as_ref().map(|subset| current.eligible(subset));
    let engine_model = target.as_deref().unwrap_or(name);
    let tokens = match (input.text, &scan) {
        // Boxed: most pools do not look them up, and would carry the room it needs.
        (Some(text), Some(scan)) if current.state.wants_tokens() => {
            Box::pin(prompt_tokens(&current.state, (request, subset.as_deref()), text, scan, engine_model)).await
        }
        _ => None,
    };
    let priority = priority(&current.pool, model, objective);
    let pick = PickRequest {
        model: engine_model,
        tokens: tokens.as_ref(),
        tokens_way: tokens.as_ref().and_then(PromptTokens::way),
        prompt: scan.as_ref().and_then(|scan| input.text?.get(scan.prompt.clone()?)).unwrap_or(&[]),
        cache_salt: scan.as_ref().and_then(|scan| scan.cache_salt.as_deref()),
        criticality: criticality(priority),
        priority,
        input_bytes: input.text.map_or(input.length, Bytes::len),
        max_tokens: scan.as_ref().and_then(|scan| scan.max_tokens),
        subset: subset.as_deref(),
        objective: Objective::new(
            TTFT_HEADERS.iter().find_map(|name| request.header(name)),
            TPOT_HEADERS.iter().find_map(|name| request.header(name)),
        ),
        tells_prefill: request.echoes_response && scan.as_ref().is_some_and(|scan| scan.stream),
        ..PickRequest::default()
    };
    let terms = QueueTerms {
        priority,
        flow: request.header(FAIRNESS_HEADER).filter(|flow| !flow.is_empty()),
        timeout: request.header(TIMEOUT_HEADER).and_then(queue_timeout),
        ..QueueTerms::default()
    };
    let picked = current.state.pick_or_wait(&pick, &terms).await.map_err(|error| not_picked(request, error, subset.is_some()))?;
    let path = request.path.split('?').next().unwrap_or_default();
    let prefill = prefill::pick(&current, (path, input.text), &pick, &picked);
    let endpoints: Vec<String> = picked.ranked().filter_map(|it| it.address.socket()).take(most).map(|it| it.to_string()).collect();
    let keeps_name = model.is_some_and(|model| model.keeps_name);
    let renamed = target.clone().filter(|_| keeps_name).map(|target| (target, name.into()));
    let takes_over = current.pool.disaggregation.is_some() || current.state.has_roles();
    let changed = scan.as_ref().zip(input.text).and_then(|(scan, text)| {
        let mut edits = target.map(|target| scan.model_edits(&target)).unwrap_or_default();
        // A client does not say which hosts an engine fetches from.
        edits.extend(transfer_edits(text).ok().filter(|_| takes_over && scan.has_transfer).unwrap_or_default());
        (!edits.is_empty()).then(|| splice(text, edits))
    });
    let took = begun.elapsed().saturating_sub(picked.waited().unwrap_or_default());
    picker.metrics.picks.observe(took.as_secs_f64());
    let evicted = picked.eviction().map(|_| evicted(request).reply);
    Ok(Decision { picked, prefill, endpoints: endpoints.join(","), changed, renamed, evicted })
}

/// Tokens of a request's prompt. `None`: they are not known, and are estimated.
async fn prompt_tokens(
    pool: &PoolState,
    (request, subset): (&EndpointRequest, Option<&[SocketAddr]>),
    text: &Bytes,
    scan: &Scan,
    model: &str,
) -> Option<PromptTokens> {
    let path = request.path.split('?').next().unwrap_or_default();
    let form = Api::from_path(path).and_then(|api| PromptQuestion::new(api, text, model));
    let prompt = match &form {
        Some(PromptQuestion::Ask { body, message_ends, is_converted }) => {
            PromptForm::Body { pieces: body, message_ends, is_converted: *is_converted }
        }
        Some(PromptQuestion::Given(tokens)) => PromptForm::Tokens(tokens),
        None => PromptForm::Other,
    };
    let cache_salt = scan.cache_salt.as_deref();
    pool.prompt_tokens(&TokenQuestion { model, cache_salt, prompt, subset, avoided: &[] }).await.ok()
}

/// A body that is not held.
pub(crate) fn body_refusal(request: &EndpointRequest, why: Full) -> Refusal {
    match why {
        Full::Body => {
            let message = "the request's body is longer than the endpoint picker reads";
            refusal(request, RequestOutcome::TooLong, (413, RESOURCE_EXHAUSTED), message, &[], "the body is too long")
        }
        Full::Room => {
            let message = "the endpoint picker holds no more request bodies at this moment; try again";
            refusal(request, RequestOutcome::NoRoom, (503, UNAVAILABLE), message, &[], "no room for the body")
        }
    }
}

/// Scans the body, if it can be understood.
fn understood(request: &EndpointRequest, body: &Bytes) -> Option<Scan> {
    if body.is_empty() {
        return None;
    }
    let content_type = request.header("content-type");
    BodyKind::from_content_type(content_type)?.scan(content_type, body).ok()
}

fn no_endpoint(request: &EndpointRequest, details: &str) -> Refusal {
    let reason = [(DROPPED_REASON_HEADER, PickError::NoEndpoints.dropped_reason())];
    refusal(request, RequestOutcome::NoEndpoint, (503, UNAVAILABLE), "no backend is ready to serve this request", &reason, details)
}

/// The refusal of a request that is broken off for a more important one.
fn evicted(request: &EndpointRequest) -> Refusal {
    let message = "the request was broken off for more important ones; try again later";
    let more = [("retry-after", "5"), (DROPPED_REASON_HEADER, QueueOutcome::Evicted.name())];
    refusal(request, RequestOutcome::Shed, (429, RESOURCE_EXHAUSTED), message, &more, "evicted for a request of a higher priority")
}

fn not_picked(request: &EndpointRequest, error: PickError, has_subset: bool) -> Refusal {
    let reason = (DROPPED_REASON_HEADER, error.dropped_reason());
    let busy = |outcome, message: &str, after: Duration, details: &str| {
        let after = after.as_secs().max(1).to_string();
        refusal(request, outcome, (429, RESOURCE_EXHAUSTED), message, &[("retry-after", &after), reason], details)
    };
    match error {
        PickError::NoEndpoints if has_subset => no_endpoint(request, "no endpoint of the pool is in the subset"),
        PickError::NoEndpoints => no_endpoint(request, "the pool has no ready endpoint"),
        PickError::Saturated { retry_after } => {
            let message = "the model is busy and this request can wait; try again later";
            busy(RequestOutcome::Shed, message, retry_after, "all endpoints of the pool are saturated")
        }
        PickError::Expired { retry_after } => {
            let message = "the model is busy, and the request has waited for as long as it may; try again later";
            busy(RequestOutcome::Expired, message, retry_after, "all endpoints of the pool were saturated")
        }
        PickError::TimedOut => {
            let message = "the model was busy for as long as the request may take";
            refusal(request, RequestOutcome::Expired, (504, DEADLINE_EXCEEDED), message, &[reason], "the request's time ran out")
        }
        PickError::ShuttingDown => {
            let message = "the endpoint picker stopped while the request waited; try again";
            let headers = [("retry-after", "1"), reason];
            refusal(request, RequestOutcome::Stopped, (503, UNAVAILABLE), message, &headers, "the endpoint picker stops")
        }
    }
}

/// Codes of gRPC.
const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNAVAILABLE: u32 = 14;

/// Answers in the terms of the API that the client called: HTTP's status, or gRPC's.
fn refusal(
    request: &EndpointRequest,
    outcome: RequestOutcome,
    (status, grpc_status): (u16, u32),
    message: &str,
    more: &[(&str, &str)],
    details: &str,
) -> Refusal {
    if request.header("content-type").is_some_and(|value| value.starts_with("application/grpc")) {
        // The body becomes the status' message.
        let body = Bytes::copy_from_slice(message.as_bytes());
        return Refusal { outcome, reply: Box::new(answers::immediate(status, Some(grpc_status), more, body, details)) };
    }
    let path = request.path.split('?').next().unwrap_or_default();
    let (content_type, body) = match Api::from_path(path).map(Api::dialect) {
        Some(dialect) => ("application/json", in_terms_of(dialect, status, message)),
        None => ("text/plain; charset=utf-8", Bytes::from(format!("{message}\n"))),
    };
    let headers: Vec<_> = [("content-type", content_type)].into_iter().chain(more.iter().copied()).collect();
    Refusal { outcome, reply: Box::new(answers::immediate(status, None, &headers, body, details)) }
}

fn in_terms_of(dialect: Dialect, status: u16, message: &str) -> Bytes {
    ErrorBody::new(dialect, status, message).to_json()
}
