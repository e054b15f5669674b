//! Spans of a request and of its attempts, from their beginning.

use std::{sync::Arc, time::Instant};

use http::{HeaderMap, HeaderName};
use pailou_snapshot::{CustomSpans, Listener, ListenerTracing, Rule};
use pailou_telemetry::ids::SpanId;

use super::{Chosen, attempt::Attempts, notes, outgoing::Outgoing, tried::Tried};
use crate::{
    attempt_record::AttemptRecord,
    cluster::Attempt,
    filter::Stage,
    prefill_record::PrefillSpan,
    request_head::Head,
    request_log::RequestLog,
    request_record::RequestRecord,
    trace::{CustomNotes, KeptTrace, RequestTrace},
    worker::Connection,
};

/// Begins the span of a request, where there is a tracer.
pub(super) fn begin(connection: &Connection, listener: Option<&Listener>, head: &mut Head, record: &mut RequestRecord) {
    let tracing = listener.map_or(&ListenerTracing::Environment, |listener| &listener.tracing);
    let Some(tracer) = connection.worker.context.tracers.tracer(tracing) else { return };
    let mut trace = RequestTrace::begin(tracer, &mut head.parts.headers);
    if let Some(kept) = &mut trace.kept {
        kept.port = connection.local.port();
        kept.scheme = if connection.tls.is_some() { "https" } else { "http" };
        kept.in_form(connection.worker.context.model_spans);
        if let Some(custom) = &trace.tracer.settings.custom {
            let notes = notes::begin(&custom.captured, connection, (&head.authority, &head.parts));
            kept.custom.push(CustomNotes { spans: custom.clone(), is_of_rule: false, notes });
        }
    }
    record.trace = Some(trace);
}

/// Has a request's trace go by the rule that takes it: whether its spans are kept, and their names and attributes.
pub(super) fn matched(listener: &Listener, rule: &Rule, stage: &Stage<'_>, head: &Head, record: &mut RequestRecord) {
    let Some(trace) = &mut record.trace else { return };
    if let Some(set) = rule.policy.sampling {
        let port = stage.connection.local.port();
        let make = || {
            let mut kept = KeptTrace { client: Some(stage.client), scheme: stage.scheme, port, ..KeptTrace::default() };
            kept.in_form(stage.connection.worker.context.model_spans);
            kept
        };
        trace.sample(set, &head.parts.headers, make);
    }
    let Some(kept) = &mut trace.kept else { return };
    let is_known = !kept.custom.is_empty();
    let of_tracer = trace.tracer.settings.custom.as_ref().filter(|_| kept.custom.iter().all(|custom| custom.is_of_rule));
    let of_rule = rule.policy.spans.as_ref();
    if !is_known && of_tracer.is_none() && of_rule.is_none() {
        return;
    }
    let make = |(spans, is_of_rule): (&Arc<CustomSpans>, bool)| {
        let mut notes = notes::begin(&spans.captured, stage.connection, (&head.authority, &head.parts));
        notes::prepared(&mut notes, stage.client, &listener.client, head);
        notes.origin.scheme = stage.scheme;
        CustomNotes { spans: spans.clone(), is_of_rule, notes }
    };
    // Another rule may have been tried before.
    kept.custom.retain(|custom| !custom.is_of_rule);
    let added = of_tracer.map(|spans| (spans, false)).into_iter().chain(of_rule.map(|spans| (spans, true)));
    kept.custom.extend(added.map(make));
}

impl Attempts<'_> {
    /// Begins the span of an attempt, and makes it the parent of the endpoint's.
    pub(super) fn begin_span(&mut self, attempt: &Attempt, record: &mut RequestLog) {
        record.note(|notes| notes.endpoint = Some(attempt.endpoint().clone()));
        let wants_attempts = record.logs_attempts();
        let span_id = write_context(&self.route, &mut self.outgoing.headers, record);
        let is_traced = record.kept_trace().is_some();
        if !is_traced && !wants_attempts {
            return;
        }
        let span_id = span_id.unwrap_or_else(|| SpanId::from_random(fastrand::u64(..)));
        let of_attempt = self.record_of(attempt, span_id);
        record.attempt_records.push(of_attempt);
    }

    /// Begins the span of a prefill at another endpoint, and makes it the parent of that endpoint's.
    pub(super) fn begin_prefill_span(
        &self,
        attempt: &Attempt,
        outgoing: &mut Outgoing,
        record: &mut RequestLog,
    ) -> Option<PrefillSpan> {
        let span_id = write_context(&self.route, &mut outgoing.headers, record)?;
        record.kept_trace()?;
        let (span, of_prefill) = PrefillSpan::begin(self.record_of(attempt, span_id));
        record.prefill_records.push(of_prefill);
        Some(span)
    }

    fn record_of(&self, attempt: &Attempt, span_id: SpanId) -> AttemptRecord {
        let target = &self.target;
        AttemptRecord {
            span_id,
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
        }
    }
}

/// Makes a new span the parent of the endpoint's.
fn write_context(route: &Chosen<'_>, map: &mut HeaderMap, record: &RequestRecord) -> Option<SpanId> {
    let trace = record.trace.as_ref()?;
    let (rule, own) = (&route.entry.rule.filters, &route.backend.filters);
    // Edits of the route go before: a provider elsewhere may be meant to get no context.
    let is_edited = |name: &HeaderName| {
        [&rule.request_headers, &own.request_headers].into_iter().flatten().any(|edit| edit.sets(name) || edit.removes(name))
    };
    Some(trace.begin_attempt(map, is_edited))
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
