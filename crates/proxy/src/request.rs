//! The request path. It reads from top to bottom as a request travels, and each step needs what the one before found:
//!
//! head → listener → listener's filters → route (→ body, where matching depends on it) → rule's filters → permit → header edits,
//! rewrite → mirrors → target → attempts → response through the filters → relay → settle
//!
//! A failure at any step is an [`Error`] and leaves by one exit, [`answer()`].

mod admission;
mod answer;
mod attempt;
mod attempt_span;
mod backend;
mod client_headers;
mod disaggregation;
mod envoy_headers;
mod listener;
mod log_target;
mod mirroring;
mod models;
mod notes;
mod outgoing;
mod picker;
mod pool_headers;
mod pool_target;
mod preflight;
mod prepare;
mod prompt;
mod queue;
mod read_body;
mod receipt_headers;
mod replay;
mod request_id;
mod retry;
mod selection;
mod session;
mod target;
mod trace;
mod tried;
mod turn;
mod unreadable;
mod unrouted;
mod upgrades;
mod usage;
mod work_time;

use std::{
    future::{Future as _, poll_fn},
    net::IpAddr,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use http::{Request, Response};
use pailou_ai::Api;
use pailou_limits::LlmCosts;
use pailou_snapshot::{BackendRef, Body, ClientPolicy, ClientTimeouts, HeaderEdit, Listener, ListenerName, RouteMatch};
use tokio::time::Instant;

use crate::{
    breaker::Overflow,
    error::{Audience, Error, Flag},
    filter::{self, Admitted, BackendRequest, ClientId, ClientPlace, FilterState, Passage, Source, Stage},
    headers, redirect,
    request_head::{self, Head},
    request_input::{Bounds, RequestInput},
    request_log::RequestLog,
    request_record::RequestId,
    response_body::ResponseBody,
    runtime::Runtime,
    server::{ClientBody, OnUpgrade},
    shared_limits::StoreBudget,
    template,
    worker::Connection,
};
use admission::{Admitting, admit, find_rule};
use answer::Answer;
use attempt::Attempts;
use outgoing::Outgoing;
use picker::Picker;
use prepare::prepare;
use read_body::{read_for_backend, read_for_picker};
use replay::ReplayBody;
use retry::Policy;
use session::Session;
use target::{Haste, Target};
use work_time::WorkTime;

/// Takes a request apart, for [`answer()`]: what lives as long as that is not held twice.
pub(crate) fn handle(
    connection: &Arc<Connection>,
    request: Request<ClientBody>,
) -> impl Future<Output = Response<ResponseBody>> + Send {
    let (mut parts, mut body) = request.into_parts();
    let upgrade = body.take_upgrade();
    let context = connection.worker.context.clone();
    let mut record = Box::new(RequestLog::new(context, connection.peer, parts.method.clone(), parts.version));
    record.arrived(connection.local.port(), connection.tls.is_some());
    record.path = parts.uri.path().into();
    let head = match Head::check(&mut parts) {
        Ok(authority) => Ok(Box::new(Head::new(parts, authority))),
        Err(error) => {
            log_target::refused(connection, &parts, &mut record);
            Err(error)
        }
    };
    answer(connection, head, body, upgrade, record)
}

/// Answers a request. Whatever happens, there is a response, and the request is settled: here, at the end of the response's
/// body, or where the client drops either.
async fn answer(
    connection: &Arc<Connection>,
    head: Result<Box<Head>, Error>,
    body: ClientBody,
    upgrade: Option<OnUpgrade>,
    mut record: Box<RequestLog>,
) -> Response<ResponseBody> {
    let context = &connection.worker.context;
    let mut state = FilterState::default();
    let mut work = WorkTime::since(record.started);
    let (served, audience) = match head {
        Ok(mut head) => {
            let served = {
                let mut serving = pin!(serve(connection, &mut head, body, &mut record, &mut state));
                poll_fn(|task| {
                    work.begin();
                    let polled = serving.as_mut().poll(task);
                    work.end();
                    if polled.is_pending() && context.cut_off.is_given() { Poll::Ready(Err(stopped())) } else { polled }
                })
                .await
            };
            record.worked = Some(work.total());
            // As the listener has normalised the path.
            (served, head.audience)
        }
        Err(error) => (Err(error), Audience::Other),
    };
    match served {
        Ok(Served::Here(mut response)) => {
            if !response.headers().contains_key(headers::REQUEST_ID) {
                request_id::stamp(response.headers_mut(), &mut record);
            }
            filter::response(&mut state, connection, audience, &mut response, Source::Local("")).await;
            record.head(response.status());
            stamp_receipt(&mut record, &mut response);
            record.keep_response(response.headers());
            record.settle();
            response
        }
        Ok(Served::Relayed(answer, late_edit)) => {
            let mut response = answer.relay(record, work.ended(), upgrade);
            filter::response(&mut state, connection, audience, &mut response, Source::Backend).await;
            if let Some(edit) = late_edit {
                let status = response.status();
                template::edit_response(response.headers_mut(), status, &edit);
            }
            response
        }
        Err(error) => {
            record.failed(&error);
            let mut response = error.response(audience);
            request_id::stamp(response.headers_mut(), &mut record);
            let source = Source::Local(&error.message);
            filter::response(&mut state, connection, audience, &mut response, source).await;
            record.head(response.status());
            if state.envoy_headers && error.flag == Flag::RateLimited {
                envoy_headers::rate_limited(response.headers_mut());
            }
            if context.response_flags {
                answer::flag(response.headers_mut(), error.flag);
            }
            stamp_receipt(&mut record, &mut response);
            record.keep_response(response.headers());
            record.settle();
            response
        }
    }
}

/// Tells the client of its receipt, where the operator switches that on.
fn stamp_receipt(record: &mut RequestLog, response: &mut Response<ResponseBody>) {
    if let Some(is_kept) = record.tells_client() {
        receipt_headers::stamp(response.headers_mut(), record, is_kept);
    }
}

/// How a request was served.
enum Served {
    /// By the gateway itself.
    Here(Response<ResponseBody>),
    /// By a backend. With the listener's edit of response headers, which comes after all filters.
    Relayed(Answer, Option<Arc<HeaderEdit>>),
}

async fn serve(
    connection: &Arc<Connection>,
    head: &mut Head,
    body: ClientBody,
    record: &mut RequestLog,
    state: &mut FilterState,
) -> Result<Served, Error> {
    let context = &connection.worker.context;
    record.host = head.host.clone();
    let runtime = context.runtime.load_full().ok_or_else(|| Error::new(Flag::Stopped, "the gateway is not configured yet"))?;
    let listener = begin(&runtime, connection, head, record)?;
    let policy = &*listener.client;
    if policy.health_check_path.as_deref().is_some_and(|path| path == head.parts.uri.path()) {
        return Ok(Served::Here(Response::new(ResponseBody::empty())));
    }
    state.envoy_headers = policy.envoy_headers;
    let client = prepare(head, listener, connection)?;
    record.note(|notes| notes::prepared(notes, client, policy, head));
    if let Some(location) = head.normalize_path(policy.path)? {
        return Ok(Served::Here(redirect::to_normal_path(location)));
    }
    let id = request_id::of_request(&mut head.parts.headers, policy.request_ids);
    record.request_id = id.map_or(RequestId::None, RequestId::Known);

    let ClientTimeouts { request_received: time, stream_idle: idle, .. } = policy.timeouts;
    let bounds = Bounds { bytes: policy.buffer_limit, time, idle };
    let scheme = request_head::scheme(policy, &head.parts.headers, client, connection);
    if let Some(kept) = record.kept_trace() {
        (kept.client, kept.scheme) = (Some(client), scheme);
    }
    record.note(|notes| notes.origin.scheme = scheme);
    let started = Instant::from_std(record.started);
    let deadline = policy.timeouts.max_stream.map(|limit| started + limit);
    let (place, store_budget) = (ClientPlace::default(), StoreBudget::default());
    let stage = Stage {
        runtime: &runtime,
        connection,
        client,
        scheme,
        listener: &listener.name,
        matched: None,
        started,
        deadline,
        bounds,
        rate_limit_headers: policy.rate_limit_headers,
        costs: listener.costs.as_deref(),
        geo: listener.geo.as_deref(),
        place: &place,
        store_budget: &store_budget,
    };
    let input = RequestInput::new(body.without_identities(&listener.identity_headers), head);
    let (entry, input) = match preflight::rule(listener, head) {
        Some(entry) => (entry, input),
        None => match filter::pass(&listener.filters, &stage, head, input, state).await? {
            Passage::Continue(input) | Passage::Rematch(input) => match find_rule(listener, &stage, head, input, record).await {
                Ok(found) => found,
                // Boxed: most requests are routed, and would carry the room it needs.
                Err(error) => return Box::pin(models::response(listener, &stage, head, state, error)).await.map(Served::Here),
            },
            Passage::Reply(response) => return Ok(Served::Here(*response)),
        },
    };
    let (entry, admitted) = match admit((listener, entry), &stage, head, input, record, state).await? {
        Admitting::Admitted(entry, admitted) => (entry, admitted),
        Admitting::Answered(response) => return Ok(Served::Here(*response)),
    };
    let is_priced = record.model.is_some() && listener.costs.as_ref().is_some_and(|costs| costs.has_prices());
    let needs_model = is_priced && state.may_be_refused();
    let store_budget = &store_budget;
    let client_id = state.client_id().filter(|_| queue::may_wait(&entry.rule, &runtime));
    let admission =
        Admission { admitted, runtime: &runtime, listener, entry, client, client_id, bounds, needs_model, store_budget };
    answer_or_forward(connection, head, admission, record, state).await
}

/// Chooses the listener, and begins the request's span, log and record by it. A request that no listener takes has those of its connection.
fn begin<'r>(
    runtime: &'r Runtime,
    connection: &Connection,
    head: &mut Head,
    record: &mut RequestLog,
) -> Result<&'r Arc<Listener>, Error> {
    if head.host.ends_with('.') {
        listener::strip_host_dot(runtime, connection, head);
        record.host = head.host.clone();
    }
    let chosen = listener::choose(runtime, connection, head);
    let known = chosen.as_ref().ok().map(|listener| &***listener);
    attempt_span::begin(connection, known, head, record);
    log_target::begin(connection, runtime, known, head, record);
    let listener = chosen?;
    record.listener = Some(listener.name.clone());
    record.costs.clone_from(&listener.costs);
    Ok(listener)
}

/// Answers an admitted request, or sends it to a backend.
async fn answer_or_forward(
    connection: &Arc<Connection>,
    head: &mut Head,
    admission: Admission<'_>,
    record: &mut RequestLog,
    state: &mut FilterState,
) -> Result<Served, Error> {
    if let Some(response) = answer::without_backend(&admission.admitted, admission.entry, head, connection)? {
        return Ok(Served::Here(response));
    }
    record.body_delays = state.body_delays();
    let forwarded = if state.may_be_refused() {
        state.unless_refused(Box::pin(forward(connection, head, admission, record))).await
    } else {
        forward(connection, head, admission, record).await
    };
    // Limits of its backends refused it: those of the client are not charged either.
    if forwarded.as_ref().is_err_and(|error| error.flag == Flag::RateLimited) {
        state.refund_limits(&connection.worker.context.limits);
    }
    forwarded
}

/// A request that a rule has taken, on its way to a backend.
struct Admission<'a> {
    admitted: Admitted,
    runtime: &'a Arc<Runtime>,
    listener: &'a Listener,
    entry: &'a RouteMatch,
    client: IpAddr,
    client_id: Option<ClientId>,
    bounds: Bounds,
    /// A processor that changes the body on its way may change the model, by which the response is priced.
    needs_model: bool,
    store_budget: &'a StoreBudget,
}

/// Sends a request to a backend.
async fn forward(
    connection: &Arc<Connection>,
    head: &mut Head,
    admission: Admission<'_>,
    record: &mut RequestLog,
) -> Result<Served, Error> {
    let Admission { admitted, runtime, listener, entry, client, client_id, bounds, needs_model, store_budget } = admission;
    let (context, rule, policy) = (&connection.worker.context, &entry.rule, &*listener.client);
    let base_models = &runtime.snapshot().base_models;
    upgrades::check(head, rule)?;
    let input = read_for_backend((rule, needs_model), admitted, head, context, bounds).await?;
    record.request_bytes = input.length();
    // Texts of embeddings are in no span, nor are those of calls without an operation.
    let has_messages = Api::from_path(&record.path).is_none_or(|api| matches!(api.operation(), Some("chat" | "text_completion")));
    if let (Some(kept), Some(call)) = (record.kept_trace(), input.call())
        && let Some(scan) = call.scan()
    {
        (kept.is_stream, kept.max_tokens) = (scan.stream, scan.max_tokens);
        if !has_messages {
            kept.content = None;
        } else if let Some(content) = &mut kept.content {
            content.read_request(call.text());
        }
    }
    if let Body::Read { model, base_model } = input.known(base_models) {
        if record.model.is_none() {
            record.model = model.map(Into::into);
        } else if record.model.as_deref() != model {
            record.replaced_model = model.map(Into::into);
        }
        outgoing::model_headers(&mut head.parts.headers, model, base_model);
    }
    if let Some(cookies) = &runtime.snapshot().session_cookies {
        cookies.remove(&mut head.parts.headers, &rule.route.name.namespace, &head.host);
    }
    let session = rule.session.as_deref().map(|settings| Session::read(settings, &head.parts.headers));
    let mut backend = backend::choose(rule, runtime, session.as_ref())?;
    let (listener, costs, is_understood) = (&listener.name, listener.costs.as_deref(), input.is_understood());
    if backend.limits.is_some() {
        let (call, known) = (input.call(), input.known(base_models));
        let request =
            BackendRequest { context, client, route: &rule.route, listener, head, call, is_understood, known, costs, store_budget };
        let (other, charge) = Box::pin(backend::with_room(rule, runtime, backend, request)).await?;
        record.hold_for_backend(charge);
        backend = other;
    }
    let picker = Picker::of(runtime, backend);
    let input = if picker.is_some() { read_for_picker(input, head, context, &bounds).await? } else { input };
    let mut permit = queue::permit(rule, runtime, backend)?;

    let late_edit = answer::late_edit(policy, head, connection, rule);
    let counts_tokens = record.counts_tokens();
    let session = session.as_ref();
    let client_id = client_id.as_ref();
    let route =
        Chosen { runtime, entry, backend, policy, listener, client, client_id, session, counts_tokens, is_understood, costs };
    let history = turn::history(&route);
    let original = (history.is_some() && turn::differs(&route)).then(|| head.parts.headers.clone());
    // Boxed, and made apart: the future that runs them would hold them and their parts three times.
    let attempts = {
        let mut outgoing = Outgoing::new(&route, &permit, head, connection, input.call().is_some())?;
        let input = mirroring::copy(&route, &outgoing, input, connection);
        let mut target = Target::aim(&route, picker, connection, &mut outgoing, input.call(), record, Haste::MayWait).await?;
        permit.count(rule.policy.breaker.as_ref()).map_err(overflow)?;
        usage::ask(&route, &mut target, &mut outgoing, input.call());
        let upgrade = head.upgrade.take();
        let keep = replay::keep(rule, &input, outgoing.is_repeatable(), bounds, context);
        let body = ReplayBody::new(input, target.body.take(), keep);
        let policy = Policy::new(rule.policy.retry.as_ref());
        let eviction = queue::current_eviction(&target.selection, history.is_some());
        Box::new(Attempts { route, connection, head, original, outgoing, target, history, policy, body, permit, eviction, upgrade })
    };
    let answer = match attempts.eviction.clone() {
        None => attempts.run(record).await?,
        // Boxed: most requests are not evicted, and would carry the room it needs.
        Some(eviction) => Box::pin(queue::unless_evicted(&eviction, attempts.run(record))).await?,
    };
    Ok(Served::Relayed(answer, late_edit))
}

/// The rule and the backend that a request goes to, and what applies to it on the way.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    runtime: &'a Arc<Runtime>,
    entry: &'a RouteMatch,
    backend: &'a BackendRef,
    policy: &'a ClientPolicy,
    listener: &'a ListenerName,
    client: IpAddr,
    /// The client that has authenticated, where a backend's requests may wait.
    client_id: Option<&'a ClientId>,
    session: Option<&'a Session<'a>>,
    /// A limit counts the tokens of the response.
    counts_tokens: bool,
    /// There is no body, or one that was read and understood.
    is_understood: bool,
    /// Costs of models' responses, and prices.
    costs: Option<&'a LlmCosts>,
}

fn stopped() -> Error {
    Error::new(Flag::Stopped, "the gateway stopped before the request was through; try again")
        .with_retry_after(Duration::from_secs(1))
}

fn overflow(overflow: Overflow) -> Error {
    Error::new(Flag::Overflow, "too many requests are under way; try again").with_detail(overflow.to_string())
}
