//! The attempt loop: endpoints are tried in order within one request. Retry, failover and the pool's next best endpoint are
//! the same loop; it ends before anything of a response has gone to the client.

use std::{
    collections::VecDeque,
    future::{Future as _, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header, response::Parts};
use http_body::Frame;
use http_body_util::BodyExt;
use pailou_ai::{ModelRename, ResponseReader, UsageStrip};
use tokio::time::{Instant, timeout};

use super::{
    Chosen,
    answer::{Answer, BackendResponse},
    attempt_span, envoy_headers,
    outgoing::Outgoing,
    queue::CurrentEviction,
    replay::ReplayBody,
    request_id,
    retry::Policy,
    stopped,
    target::Target,
    tried::{Failed, Tried, broke_off, failed, held_up, late, stalled, throttled},
};
use crate::{
    admitted_attempt::AdmittedAttempt,
    backend_body::BackendBody,
    breaker::Permit,
    cluster::{Attempt, AttemptOutcome},
    content_coding,
    context::Share,
    error::{Error, Flag},
    guards::Guards,
    headers,
    idle::Idle,
    relay::{Clocks, Reader},
    request_head::Head,
    request_log::RequestLog,
    response_edit::ResponseEdit,
    upstream::{
        Destination, Exchange, ExchangeError, Limits, RequestHead, SendFailure, UpstreamBody, Upstreams, dial, in_version_of,
    },
    weighted::AttemptHistory,
    worker::Connection,
};

/// How long the head of a stream may be held back until its first content comes, while another endpoint could still be tried.
const MAX_HOLD: Duration = Duration::from_secs(2);
/// How much of a stream may be held back, in bytes.
const MAX_HELD: usize = 64 << 10;

/// A request with all that decides where and how it is sent.
pub(super) struct Attempts<'a> {
    pub(super) route: Chosen<'a>,
    pub(super) connection: &'a Connection,
    pub(super) head: &'a mut Head,
    /// The request's headers before any edit, where another backend may want others.
    pub(super) original: Option<HeaderMap>,
    pub(super) outgoing: Outgoing,
    pub(super) target: Target,
    /// Attempts made, where a retry may go to another backend.
    pub(super) history: Option<Box<AttemptHistory<'a>>>,
    pub(super) policy: Policy<'a>,
    pub(super) body: ReplayBody,
    pub(super) permit: Permit,
    /// Signal to give its place up, where it has one that it may have to, or may turn to one.
    pub(super) eviction: Option<Arc<CurrentEviction>>,
    /// The protocol that the client wants to switch to.
    pub(super) upgrade: Option<HeaderValue>,
}

/// Attempts that have no answer yet. Where none comes, as all fail or the client goes away, the record keeps the picker's reasons.
struct Uncertain<'a, 'r> {
    /// `None` once there is an answer.
    attempts: Option<Box<Attempts<'a>>>,
    record: &'r mut RequestLog,
}

impl Drop for Uncertain<'_, '_> {
    fn drop(&mut self) {
        if let Some(attempts) = &self.attempts {
            self.record.note_pick(attempts.target.selection.as_picked(), true);
        }
    }
}

/// A response that is certain, and what it holds.
struct Certain {
    response: Box<BackendResponse>,
    attempt: Attempt,
    retry: Option<Permit>,
    admitted: Option<AdmittedAttempt>,
}

impl Attempts<'_> {
    /// Tries endpoints until one answers, or none is left, or nothing may be tried any more.
    pub(super) async fn run(self: Box<Self>, record: &mut RequestLog) -> Result<Answer, Error> {
        let clocks = self.clocks(record);
        let mut uncertain = Uncertain { attempts: Some(self), record };
        let Uncertain { attempts: Some(attempts), record } = &mut uncertain else { return Err(stopped()) };
        let Certain { response, attempt, retry, admitted } = attempts.try_endpoints(clocks, record).await?;
        let Some(attempts) = uncertain.attempts.take() else { return Err(stopped()) };
        attempt_span::relayed(uncertain.record);
        let prefill = attempts.target.plan.and_then(|plan| plan.sidecars);
        let (body, picked) = (attempts.body.into_remains(), attempts.target.selection.into_picked());
        let guards = Guards::new(attempts.permit, retry, attempt, body, picked).prefilling(prefill).counting(admitted);
        Ok(Answer { response, guards, clocks })
    }

    async fn try_endpoints(&mut self, clocks: Clocks, record: &mut RequestLog) -> Result<Certain, Error> {
        let rule = &self.route.entry.rule;
        let mut retry = None;
        record.cluster = Some(self.target.selection.cluster().clone());
        record.target_model = self.target.target_model.clone();
        record.begin_call();
        loop {
            let admitted = self.admit()?;
            let attempt = self.target.selection.next()?;
            if let Some(history) = &mut self.history {
                history.push(self.route.backend, attempt.id());
            }
            record.begin_attempt();
            record.endpoint = Some(attempt.endpoint().endpoint().name.clone());
            self.begin_span(&attempt, record);
            let begun = self.route.policy.envoy_headers.then(Instant::now);
            let tried = match self.target.plan {
                None => self.attempt(&attempt, clocks, record).await,
                // Boxed: most requests go to one endpoint, and would carry the room it needs.
                Some(_) => Box::pin(self.attempt_apart(&attempt, clocks, record)).await,
            };
            let took = begun.map(|begun| begun.elapsed());
            attempt.report(tried.outcome());
            tried.end_span(record);
            let admitted = admitted.and_then(|it| tried.count(it));
            let moved = self.body.can_be_sent() && self.target.fail_over(&tried);
            if moved {
                record.end_attempt(tried.status(), tried.flag());
            } else {
                let wanted = self.body.can_be_sent() && self.policy.allows(&tried);
                if wanted {
                    drop(retry.take());
                    retry = self.route.runtime.breaker(self.route.backend.breaker).retry(rule.policy.breaker.as_ref()).ok();
                }
                // The result of this attempt is the answer if the breaker allows no retry.
                if !wanted || retry.is_none() {
                    let response = self.certain(tried.into_result()?, &attempt, (clocks, took), record).await?;
                    return Ok(Certain { response, attempt, retry, admitted });
                }
                record.end_attempt(tried.status(), tried.flag());
                // The upload of this attempt ends before the pause, lest what comes meanwhile is kept and found too long.
                self.body.end_attempt();
                self.policy.pause(clocks.deadline).await?;
                // Boxed: most requests are tried once, and would carry the room it needs.
                Box::pin(self.move_on(record)).await;
            }
            tracing::debug!(route = %rule.route, endpoint = ?record.endpoint, attempt = record.attempts, "trying again");
        }
    }

    /// The response that the client gets, with what the gateway adds to it.
    async fn certain(
        &mut self,
        response: Box<BackendResponse>,
        attempt: &Attempt,
        (clocks, took): (Clocks, Option<Duration>),
        record: &mut RequestLog,
    ) -> Result<Box<BackendResponse>, Error> {
        let mut response = self.pass(response, attempt, clocks).await?;
        request_id::stamp(&mut response.head.headers, record);
        if let Some(took) = took {
            envoy_headers::response(&mut response.head.headers, took);
        }
        response.edit(&self.route, self.outgoing.response_edits.as_deref(), self.target.set_cookie.take());
        if let Some(session) = self.route.session {
            session.stamp(self.target.selection.cluster(), attempt.endpoint(), &mut response.head.headers);
        }
        Ok(response)
    }

    /// Admission control of the backend that comes next.
    fn admit(&self) -> Result<Option<AdmittedAttempt>, Error> {
        let Some(control) = &self.route.entry.rule.policy.admission_control else { return Ok(None) };
        AdmittedAttempt::new(self.route.runtime.breaker(self.route.backend.breaker), control).map(Some)
    }

    /// Passes the response through the pool's endpoint picker, where one listens.
    async fn pass(
        &mut self,
        response: Box<BackendResponse>,
        attempt: &Attempt,
        clocks: Clocks,
    ) -> Result<Box<BackendResponse>, Error> {
        let switches = response.head.status == StatusCode::SWITCHING_PROTOCOLS;
        let Some(listener) = self.target.listener.take().filter(|_| !switches) else { return Ok(response) };
        let served = attempt.endpoint().endpoint().address.to_string();
        // Boxed: most requests have none, and would carry the room it needs.
        let room = Share::new(self.connection.worker.context.clone());
        Box::pin(response.pass_picker(*listener, &served, clocks.deadline, room)).await.map(Box::new)
    }

    /// The clocks of the whole request.
    fn clocks(&self, record: &RequestLog) -> Clocks {
        let timeouts = &self.route.entry.rule.policy.timeouts;
        let after = |limit| Instant::from_std(record.started) + limit;
        let stream_deadline = self.route.policy.timeouts.max_stream.map(after);
        let deadline = timeouts.request.map(after).into_iter().chain(stream_deadline).min();
        let idle = timeouts.stream_idle.or(if timeouts.request.is_some() { None } else { self.route.policy.timeouts.stream_idle });
        Clocks { deadline, stream_deadline, idle }
    }

    /// One attempt: to the response's head, and for a stream that could still come from elsewhere to its first content.
    pub(super) async fn attempt(&mut self, attempt: &Attempt, clocks: Clocks, record: &RequestLog) -> Tried {
        let timeouts = &self.route.entry.rule.policy.timeouts;
        let own = timeouts.attempt.map(|limit| Instant::now() + limit);
        let pulse = self.body.watch().map(|watch| Arc::clone(watch.pulse()));
        // The idle clock begins now if nothing more comes from the client, and is a deadline like the others.
        let (silent, moving) = if pulse.is_some() { (None, clocks.idle) } else { (clocks.idle, None) };
        let silent = silent.map(|limit| Instant::now() + limit);
        let first = [clocks.deadline, own, silent].into_iter().flatten().min();
        let spare = &self.connection.timer;
        let mut timer = first.map(|at| spare.take(at));
        let mut idle = moving.map(|limit| Idle::new(limit, pulse.clone()));
        let mut exchange = pin!(self.exchange(attempt));
        // By hand: `select!` moves the futures, and makes a timer where there is no deadline.
        let tried = poll_fn(|context| {
            if let Poll::Ready(tried) = exchange.as_mut().poll(context) {
                return Poll::Ready(tried);
            }
            if timer.as_mut().is_some_and(|timer| timer.poll(context).is_ready()) {
                if clocks.deadline == first && record.was_throttled() {
                    return Poll::Ready(throttled());
                }
                let flag = if silent == first { Flag::StreamIdle } else { Flag::Timeout };
                // When the request's own time is up nothing can be tried any more.
                return Poll::Ready(late(flag, clocks.deadline != first));
            }
            if idle.as_mut().is_some_and(|idle| idle.poll(context).is_ready()) {
                let waits = pulse.as_ref().is_some_and(|pulse| pulse.waits_for_client());
                return Poll::Ready(if waits { stalled() } else { late(Flag::StreamIdle, true) });
            }
            Poll::Pending
        })
        .await;
        if let Some(timer) = timer {
            spare.keep(timer);
        }
        tried
    }

    async fn exchange(&mut self, attempt: &Attempt) -> Tried {
        match self.send(attempt).await {
            Ok(exchange) if self.upgrade.is_none() && exchange.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                let error = Error::new(Flag::UpstreamProtocol, "the backend's answer is not valid HTTP")
                    .with_detail("it switched protocols without having been asked to");
                Tried::Failed(Failed { error, outcome: AttemptOutcome::Reset, sent: true, refused: false, before_content: false })
            }
            Ok(exchange) => self.commit(exchange).await,
            Err(failed) => Tried::Failed(failed),
        }
    }

    async fn send(&mut self, attempt: &Attempt) -> Result<Exchange, Failed> {
        let rule = &self.route.entry.rule;
        let limits =
            Limits { breaker: Some(self.route.runtime.breaker(self.route.backend.breaker)), limits: rule.policy.breaker.as_ref() };
        let destination = dial(&self.target.settings, attempt.endpoint(), &rule.policy.timeouts, limits)
            .map_err(|failure| unsendable(Error::misconfigured(&failure.0)))?
            .on_behalf_of(self.connection.ends());
        let destination = in_version_of(destination, &self.target.settings, self.head.parts.version);
        let head = self.outgoing.head(destination.address, self.upgrade.as_ref()).map_err(unsendable)?;
        let (upstreams, head) = (&self.connection.worker.upstreams, head.borrowed());
        let body = self.body.take().await.ok_or_else(|| unsendable(held_up()))?;
        let sent = match upstreams.send(&destination, &head, body).await {
            // Boxed: hardly any attempt meets one, and all would carry the room it needs.
            Err(failure) if failure.met_closing_connection() && self.outgoing.is_repeatable() => {
                Box::pin(send_again(&mut self.body, upstreams, &destination, &head, failure)).await?
            }
            sent => sent,
        };
        sent.map_err(|mut failure| {
            if let Some(body) = failure.body.take() {
                self.body.give_back(body);
            }
            failed(&failure)
        })
    }

    /// Holds a response back while it only announces itself: a stream that dies before its first content can still come
    /// from another endpoint. Nothing is held where nothing else could be tried, nor a comment, which is a sign of life.
    async fn commit(&self, exchange: Exchange) -> Tried {
        let (head, mut body) = exchange.response.into_parts();
        let mut reader = self.reader(&head);
        let holds = reader.as_ref().is_some_and(|reader| reader.reader.reads_events() && reader.dialect.is_some())
            && head.status == StatusCode::OK
            && self.body.can_be_sent()
            && (self.target.selection.has_next() || self.policy.retries_resets());
        if let (true, Some(held)) = (holds, &mut reader) {
            let mut ahead = VecDeque::new();
            let outcome = timeout(MAX_HOLD, first_content(&mut body, &mut held.reader, &mut ahead)).await;
            if let Ok(Err(error)) = outcome {
                return Tried::Failed(broke_off(&error));
            }
            // The relay reads it from its beginning.
            body.give_back(ahead);
            reader = self.reader(&head);
        }
        let body = BackendBody::Direct(body);
        let edit = self.edit(&head);
        Tried::Answered(Box::new(BackendResponse { head, body, switched: exchange.switched, reader, edit }))
    }

    /// Puts the client's name for the model into the response, where the engine got another, and takes usage out that the client did not
    /// ask for.
    fn edit(&self, head: &Parts) -> Option<Box<ResponseEdit>> {
        let names = self.target.target_model.as_ref().zip(self.target.kept_name.as_ref());
        if names.is_none() && !self.target.strips_usage {
            return None;
        }
        if !content_coding::is_plain(&head.headers) || head.status == StatusCode::PARTIAL_CONTENT {
            return None;
        }
        let media_type = headers::media_type(&head.headers);
        let events = media_type.eq_ignore_ascii_case("text/event-stream");
        let names = names.filter(|_| events || media_type.eq_ignore_ascii_case("application/json"));
        let rename = names.map(|(engine, client)| ModelRename::new(engine, client, events));
        let strip = (events && self.target.strips_usage).then(UsageStrip::default);
        Some(ResponseEdit { rename, strip, cached_tokens: None }).filter(|edit| !edit.is_empty()).map(Box::new)
    }

    /// Reader that follows a response to a model call, or one that a limit counts the tokens of.
    fn reader(&self, head: &Parts) -> Option<Box<Reader>> {
        let dialect = self.outgoing.dialect;
        if dialect.is_none() && !self.route.counts_tokens {
            return None;
        }
        let headers = &head.headers;
        if !content_coding::is_plain(headers) {
            return None;
        }
        let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let reader = ResponseReader::of(content_type.as_bytes())?;
        let until_close = reader.reads_events()
            && dialect.is_some()
            && head.version < Version::HTTP_2
            && !headers.contains_key(header::CONTENT_LENGTH)
            && !headers.contains_key(header::TRANSFER_ENCODING);
        Some(Box::new(Reader { reader, dialect, until_close }))
    }
}

async fn first_content(
    body: &mut UpstreamBody,
    reader: &mut ResponseReader,
    ahead: &mut VecDeque<Frame<Bytes>>,
) -> Result<(), ExchangeError> {
    let mut held = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let mut commit = true;
        if let Some(data) = frame.data_ref() {
            held += data.len();
            let progress = reader.feed(data);
            commit = progress.content || progress.error || data.starts_with(b":") || held > MAX_HELD;
        }
        ahead.push_back(frame);
        if commit {
            break;
        }
    }
    Ok(())
}

/// Sends a request once more, on a connection of its own, that met a connection as the backend closed it.
///
/// # Errors
/// The body is held up. The inner error is that of the request.
async fn send_again(
    body: &mut ReplayBody,
    upstreams: &Upstreams,
    destination: &Destination<'_>,
    head: &RequestHead<'_>,
    mut failure: Box<SendFailure>,
) -> Result<Result<Exchange, Box<SendFailure>>, Failed> {
    if let Some(unsent) = failure.body.take() {
        body.give_back(unsent);
    }
    if !body.can_be_sent() {
        return Ok(Err(failure));
    }
    let destination = Destination { is_fresh: true, ..*destination };
    let body = body.take().await.ok_or_else(|| unsendable(held_up()))?;
    Ok(upstreams.send(&destination, head, body).await)
}

pub(super) fn unsendable(error: Error) -> Failed {
    Failed { error, outcome: AttemptOutcome::Unknown, sent: false, refused: false, before_content: false }
}
