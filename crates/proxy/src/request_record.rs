//! Data of one request for log and metrics.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use pailou_ai::usage::Usage;
use pailou_limits::{LlmCosts, Tokens};
use pailou_snapshot::{ListenerName, PathMatch, RouteMatch, Rule};

use crate::{
    attempt_record::AttemptRecord,
    cluster::ClusterState,
    error::{Error, Flag},
    gateway_logs::{LogTarget, LoggedRequest},
    prefill_record::PrefillRecord,
    receipt_trail::Trail,
    request_notes::RequestNotes,
    running_call::RunningCall,
    trace::{KeptTrace, RequestTrace},
};

/// `X-Request-Id` of a request.
pub(crate) enum RequestId {
    /// The listener has not been asked yet.
    Unknown,
    /// The listener makes none, and the client gave none that it keeps.
    None,
    /// The client's, or one that the gateway made.
    Known(HeaderValue),
}

/// One request, from its head to the last byte of its response.
pub struct RequestRecord {
    /// When the head had been read.
    pub started: Instant,
    /// The same by the wall clock.
    pub time: SystemTime,
    /// The client's connection.
    pub peer: SocketAddr,
    /// Port that it came by.
    pub(crate) port: u16,
    /// Whether it came under TLS.
    pub(crate) is_tls: bool,
    /// The method.
    pub method: Method,
    /// The path without its query, which may hold secrets.
    pub path: Box<str>,
    /// The host asked for.
    pub host: Box<str>,
    /// The HTTP version the client speaks.
    pub version: Version,
    /// `X-Request-Id`, the client's or one that the gateway made.
    pub(crate) request_id: RequestId,
    /// The listener that answered.
    pub listener: Option<ListenerName>,
    /// The rule that answered.
    pub rule: Option<Arc<Rule>>,
    /// Path of the match that the rule took it by, where metrics tell that.
    pub(crate) http_route: Option<PathMatch>,
    /// The cluster that was chosen.
    pub cluster: Option<Arc<ClusterState>>,
    /// The endpoint that answered last.
    pub endpoint: Option<Arc<str>>,
    /// The endpoint that computed the prompt for that one.
    pub prefill_endpoint: Option<Arc<str>>,
    /// The model that the client asked for.
    pub model: Option<Box<str>>,
    /// The name that the engine was given instead.
    pub target_model: Option<Arc<str>>,
    /// The model of the body that a processor put in place of the client's, if it is another one.
    pub replaced_model: Option<Arc<str>>,
    /// Since when it waits for an endpoint with room, if it does or did.
    pub(crate) queued_since: Option<Instant>,
    /// How long it waited.
    pub queued_for: Option<Duration>,
    /// Counts it as under way, where metrics tell that of models.
    pub(crate) running: Option<RunningCall>,
    /// Attempts made.
    pub attempts: u32,
    /// When the attempt under way began, where metrics tell of attempts.
    pub(crate) attempt_since: Option<Instant>,
    /// The attempts, where the request's spans are kept.
    pub(crate) attempt_records: Vec<AttemptRecord>,
    /// Prefills at other endpoints, where the request's spans are kept.
    pub(crate) prefill_records: Vec<PrefillRecord>,
    /// Its trace, where its Gateway has traces.
    pub(crate) trace: Option<RequestTrace>,
    /// Bytes of the request's body, where it was read; else as announced.
    pub request_bytes: u64,
    /// Bytes of the response's body.
    pub response_bytes: u64,
    /// The response's status.
    pub status: Option<StatusCode>,
    /// Why the response is not what the backend said.
    pub flag: Option<Flag>,
    /// More about why, for the operator.
    pub detail: Option<String>,
    /// Time for which the gateway worked on it until its response's head, or the error, was there.
    pub(crate) worked: Option<Duration>,
    /// From `started` to the response's head.
    pub head_after: Option<Duration>,
    /// From `started` to the first content of the response: the time to first token.
    pub content_after: Option<Duration>,
    /// Events of a streamed response, of which each has about a token.
    pub content_events: u64,
    /// Tokens, as the backend counted them.
    pub usage: Option<Usage>,
    /// Costs and prices of the listener.
    pub costs: Option<Arc<LlmCosts>>,
    /// A limit refused the request, as its model has no price.
    pub is_unpriced: bool,
    /// Price of the tokens, in thousand-millionths of a US dollar, where the model has one.
    pub nano_usd: Option<u64>,
    /// Notes for its receipt.
    pub(crate) trail: Trail,
    /// The access log that it goes to.
    pub(crate) log_target: LogTarget<Box<LoggedRequest>>,
}

impl RequestRecord {
    /// A record of a request that has just come.
    pub(crate) fn new(peer: SocketAddr, method: Method, version: Version) -> Self {
        Self {
            started: Instant::now(),
            time: SystemTime::now(),
            peer,
            port: 0,
            is_tls: false,
            method,
            path: Box::default(),
            host: Box::default(),
            version,
            request_id: RequestId::Unknown,
            listener: None,
            rule: None,
            http_route: None,
            cluster: None,
            endpoint: None,
            prefill_endpoint: None,
            model: None,
            target_model: None,
            replaced_model: None,
            queued_since: None,
            queued_for: None,
            running: None,
            attempts: 0,
            attempt_since: None,
            attempt_records: Vec::new(),
            prefill_records: Vec::new(),
            trace: None,
            request_bytes: 0,
            response_bytes: 0,
            status: None,
            flag: None,
            detail: None,
            worked: None,
            head_after: None,
            content_after: None,
            content_events: 0,
            usage: None,
            costs: None,
            is_unpriced: false,
            nano_usd: None,
            trail: Trail::default(),
            log_target: LogTarget::default(),
        }
    }

    /// The request's id, if it has one.
    pub fn request_id(&self) -> Option<&str> {
        match &self.request_id {
            RequestId::Known(id) => str::from_utf8(id.as_bytes()).ok(),
            RequestId::Unknown | RequestId::None => None,
        }
    }

    /// Data of its spans, if they are kept.
    pub(crate) fn kept_trace(&mut self) -> Option<&mut KeptTrace> {
        self.trace.as_mut()?.kept.as_deref_mut()
    }

    /// Whether its Gateway's own access logs have lines of attempts.
    pub(crate) fn logs_attempts(&self) -> bool {
        matches!(&self.log_target, LogTarget::Own(logged) if logged.notes.wants_attempts())
    }

    /// Changes its notes: those for its Gateway's own access logs, and those for names and attributes of its spans.
    pub(crate) fn note(&mut self, mut change: impl FnMut(&mut RequestNotes)) {
        if let LogTarget::Own(logged) = &mut self.log_target {
            change(&mut logged.notes);
        }
        if let Some(kept) = self.kept_trace() {
            kept.custom.iter_mut().for_each(|custom| change(&mut custom.notes));
        }
    }

    /// Keeps what logs and spans have of a response's head.
    pub(crate) fn keep_response(&mut self, map: &HeaderMap) {
        self.note(|notes| notes.keep_response(map));
        if let Some(kept) = self.kept_trace() {
            kept.keep_grpc_status(map);
        }
    }

    /// Keeps what logs and spans have of a response's trailers.
    pub(crate) fn keep_trailers(&mut self, map: &HeaderMap) {
        self.note(|notes| notes.keep_trailers(map));
        if let Some(kept) = self.kept_trace() {
            kept.keep_grpc_status(map);
        }
    }

    /// Notes the rule that takes it, and the match.
    pub(crate) fn matched(&mut self, entry: &RouteMatch) {
        self.rule = Some(entry.rule.clone());
        if let Some(kept) = self.kept_trace() {
            kept.route = Some(entry.path.clone());
        }
    }

    /// The model as the backend got it, where that is another than the client asked for.
    pub(crate) fn sent_model(&self) -> Option<&str> {
        self.target_model.as_deref().or(self.replaced_model.as_deref())
    }

    /// Time to the first content of a response that is no error: an error comes at once, and would make a time to the first token of it.
    pub(crate) fn first_content(&self) -> Option<Duration> {
        self.content_after.filter(|_| self.status.is_some_and(|status| status.as_u16() < 400))
    }

    /// Tokens of the answer: as the backend counted them, or else by the events of a stream, of which each has about one.
    pub(crate) fn generated_tokens(&self) -> u64 {
        self.usage.map(|usage| usage.output_tokens).filter(|tokens| *tokens > 0).unwrap_or(self.content_events)
    }

    /// The tokens that the backend counted.
    pub(crate) fn counted_tokens(&self) -> Option<Tokens> {
        let usage = self.usage.as_ref()?;
        Some(Tokens {
            input: usage.input_tokens,
            cached_input: usage.cached_tokens.unwrap_or(0),
            cache_creation_input: usage.cache_creation_tokens.unwrap_or(0),
            output: usage.output_tokens,
            reasoning: usage.reasoning_tokens.unwrap_or(0),
            total: usage.total_tokens,
        })
    }

    /// Notes that it waits for an endpoint with room.
    pub(crate) fn begin_wait(&mut self) {
        self.queued_since = Some(Instant::now());
    }

    /// Notes that it waits no more. Only the first call after [`RequestRecord::begin_wait`] does.
    pub(crate) fn end_wait(&mut self) {
        if let Some(since) = self.queued_since.take() {
            *self.queued_for.get_or_insert_default() += since.elapsed();
        }
    }

    /// Notes why the gateway answers by itself.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.flag = Some(error.flag);
        self.is_unpriced |= error.is_unpriced;
        self.status = Some(error.status);
        self.detail = Some(error.detail.clone().unwrap_or_else(|| error.message.clone()));
    }

    /// Notes that the response's head is known.
    pub(crate) fn head(&mut self, status: StatusCode) {
        self.head_at(status, Instant::now());
    }

    /// The same at this time.
    pub(crate) fn head_at(&mut self, status: StatusCode, now: Instant) {
        self.status = Some(status);
        self.head_after = Some(now.saturating_duration_since(self.started));
    }
}
