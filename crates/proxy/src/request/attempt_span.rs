//! Spans of a request and of its attempts, from their beginning.

use std::time::Instant;

use http::HeaderName;
use pailou_snapshot::{Listener, ListenerTracing};
use pailou_telemetry::ids::SpanId;

use super::{attempt::Attempts, tried::Tried};
use crate::{
    attempt_record::AttemptRecord, cluster::Attempt, request_head::Head, request_log::RequestLog, request_record::RequestRecord,
    trace::RequestTrace, worker::Connection,
};

/// Begins the span of a request, where there is a tracer.
pub(super) fn begin(connection: &Connection, listener: Option<&Listener>, head: &mut Head, record: &mut RequestRecord) {
    let tracing = listener.map_or(&ListenerTracing::Environment, |listener| &listener.tracing);
    let Some(tracer) = connection.worker.context.tracers.tracer(tracing) else { return };
    let mut trace = RequestTrace::begin(tracer, &mut head.parts.headers);
    if let Some(kept) = &mut trace.kept {
        kept.port = connection.local.port();
        kept.scheme = if connection.tls.is_some() { "https" } else { "http" };
    }
    record.trace = Some(trace);
}

impl Attempts<'_> {
    /// Begins the span of an attempt, and makes it the parent of the endpoint's.
    pub(super) fn begin_span(&mut self, attempt: &Attempt, record: &mut RequestLog) {
        let wants_attempts = record.log_notes().is_some_and(|notes| {
            notes.endpoint = Some(attempt.endpoint().clone());
            notes.wants_attempts()
        });
        let span_id = self.write_context(record);
        let is_traced = record.kept_trace().is_some();
        if !is_traced && !wants_attempts {
            return;
        }
        let target = &self.target;
        let of_attempt = AttemptRecord {
            span_id: span_id.unwrap_or_else(|| SpanId::from_random(fastrand::u64(..))),
            started: Instant::now(),
            took: None,
            cluster: target.selection.cluster().clone(),
            endpoint: attempt.endpoint().clone(),
            is_tls: target.settings.tls.as_ref().is_ok_and(Option::is_some),
            path: self.outgoing.path_and_query().clone(),
            target_model: target.target_model.clone(),
            status: None,
            flag: None,
            is_relayed: false,
        };
        record.attempt_records.push(of_attempt);
    }

    /// Makes a new span the parent of the endpoint's.
    fn write_context(&mut self, record: &RequestRecord) -> Option<SpanId> {
        let trace = record.trace.as_ref()?;
        let (rule, own) = (&self.route.entry.rule.filters, &self.route.backend.filters);
        // Edits of the route go before: a provider elsewhere may be meant to get no context.
        let is_edited = |name: &HeaderName| {
            [&rule.request_headers, &own.request_headers].into_iter().flatten().any(|edit| edit.sets(name) || edit.removes(name))
        };
        Some(trace.begin_attempt(&mut self.outgoing.headers, is_edited))
    }
}

impl Tried {
    /// Ends the span of the attempt, as far as it has ended.
    pub(super) fn end_span(&self, record: &mut RequestLog) {
        let Some(attempt) = record.attempt_records.last_mut() else { return };
        attempt.took = Some(attempt.started.elapsed());
        (attempt.status, attempt.flag) = (self.status(), self.flag());
    }
}

/// Has the span of the attempt that was made last go on to the end of its response.
pub(super) fn relayed(record: &mut RequestLog) {
    if let Some(attempt) = record.attempt_records.last_mut() {
        attempt.is_relayed = true;
    }
}
