//! Spans of a request that has ended, as OTLP has them: one of the gateway's, and one for each attempt.
//!
//! Attributes are those of OpenTelemetry's conventions for HTTP and generative AI, or of OpenInference. Texts of prompts and answers are among them
//! only where the operator of the process asks for them.

mod attributes;
mod custom;
mod grpc;
mod model_call;
mod names;
mod open_inference;
mod prefill;

use std::time::Duration;

use pailou_telemetry::{
    span::{SpanHead, SpanKind, SpanWriter, append_span},
    text_writer::TextWriter,
};

use self::{
    attributes::{endpoint_address, protocol_version},
    model_call::ModelCall,
    names::{push_endpoints, push_http_route, push_listener, push_rule},
};
use crate::{
    attempt_record::AttemptRecord,
    error::Flag,
    gateway_log::Facts,
    http_attributes::method,
    request_record::RequestRecord,
    trace::{KeptTrace, RequestTrace},
};

/// Appends the spans of a request that took `duration`, if they are kept.
pub(crate) fn append(record: &RequestRecord, duration: Duration) {
    let Some(trace) = &record.trace else { return };
    let Some(kept) = &trace.kept else { return };
    let request = Request { record, trace, kept, begin: unix_nanos(record), duration };
    let count = 1 + record.attempt_records.len() + record.prefill_records.len();
    trace.tracer.queue.append(count as u64, |out| {
        request.append_server(out);
        for number in 0..record.attempt_records.len() {
            request.append_client(out, number);
        }
        for prefill in &record.prefill_records {
            request.append_prefill(out, prefill);
        }
    });
}

/// A request with its trace.
struct Request<'r> {
    record: &'r RequestRecord,
    trace: &'r RequestTrace,
    kept: &'r KeptTrace,
    /// Nanoseconds since 1970.
    begin: u64,
    duration: Duration,
}

impl Request<'_> {
    fn append_server(&self, out: &mut Vec<u8>) {
        let Self { record, trace, kept, .. } = self;
        let head = SpanHead {
            trace_id: trace.trace_id,
            span_id: trace.span_id,
            parent: trace.parent,
            is_parent_remote: trace.parent.is_some(),
            trace_state: &kept.trace_state,
            flags: trace.flags(),
            kind: SpanKind::Server,
            start: self.begin,
            end: self.at(self.duration),
        };
        let (name, original) = method(&record.method);
        let facts = |notes| Facts::of_request(record, notes, self.duration);
        let custom = custom::name(kept, |spans| spans.request_name.as_ref(), facts);
        // `{method} {http.route}`.
        let write_name = |text: &mut TextWriter<'_>| {
            if let Some(custom) = &custom {
                return text.push(custom);
            }
            text.push(name);
            if let Some(route) = &kept.route {
                text.push(" ");
                push_http_route(text, route);
            }
        };
        append_span(out, &head, write_name, |span| {
            let attributes = span.attributes();
            attributes.text("http.request.method", name);
            attributes.option("http.request.method_original", original);
            attributes.text("url.scheme", kept.scheme);
            attributes.text("url.path", &record.path);
            if let Some(route) = &kept.route {
                attributes.built("http.route", |text| push_http_route(text, route));
            }
            attributes.text("server.address", &record.host);
            attributes.number("server.port", kept.port.into());
            attributes.built("client.address", |text| text.push_ip(kept.client.unwrap_or(record.peer.ip())));
            attributes.built("network.peer.address", |text| text.push_ip(record.peer.ip()));
            attributes.number("network.peer.port", record.peer.port().into());
            attributes.option("network.protocol.version", protocol_version(record.version));
            if let Some(status) = record.status {
                attributes.number("http.response.status_code", status.as_u16().into());
            }
            grpc::append(attributes, kept.grpc_status);
            custom::append(kept, attributes, facts);
            self.append_gateway(span);
            self.append_picks(span);
            self.append_error(span);
        });
    }

    /// Facts of a request by names of the gateway's own.
    fn append_gateway(&self, span: &mut SpanWriter<'_>) {
        let record = self.record;
        let attributes = span.attributes();
        if let Some(listener) = &record.listener {
            attributes.built("pailou.listener", |text| push_listener(text, listener));
        }
        if let Some(rule) = &record.rule {
            attributes.built("pailou.route", |text| push_rule(text, &rule.route));
        }
        attributes.option("pailou.request_id", record.request_id());
        attributes.option("gen_ai.request.model", record.model.as_deref());
        attributes.number("pailou.attempts", record.attempts.into());
        if let Some(waited) = record.queued_for {
            attributes.fraction("pailou.queue.wait", waited.as_secs_f64());
        }
        if let Some(nano_usd) = record.nano_usd {
            attributes.fraction("pailou.cost_usd", nano_usd as f64 / 1e9);
        }
    }

    /// The picks of endpoints of pools, as events.
    fn append_picks(&self, span: &mut SpanWriter<'_>) {
        let mut waited = self.record.queued_for;
        for attempt in self.record.attempt_records.iter().filter(|attempt| attempt.cluster.pool().is_some()) {
            span.event("pailou.pick", self.start_of(attempt), |attributes| {
                attributes.built("pailou.pool", |text| push_endpoints(text, &attempt.cluster.key().endpoints));
                attributes.text("pailou.endpoint", &attempt.endpoint.endpoint().name);
                // It waited before the first of them.
                attributes.fraction("pailou.queue.wait", waited.take().unwrap_or_default().as_secs_f64());
            });
        }
    }

    fn append_error(&self, span: &mut SpanWriter<'_>) {
        let Self { record, .. } = self;
        // A client that leaves before the head is no error of the gateway's.
        let is_server_error = record.status.map_or(record.flag != Some(Flag::ClientGone), |status| status.is_server_error());
        // One that broke off after its head, unless the client left.
        let is_broken = record.flag.is_some_and(|flag| flag != Flag::ClientGone) && record.status.is_some_and(|it| it.is_success());
        let of_grpc = grpc::error(self.kept.grpc_status, SpanKind::Server);
        match (record.flag, record.status, of_grpc) {
            (Some(flag), ..) => span.attributes().text("error.type", flag.code()),
            (None, Some(status), _) if is_server_error => span.attributes().text("error.type", status.as_str()),
            (None, _, Some(name)) => span.attributes().text("error.type", name),
            (None, ..) => {}
        }
        if is_server_error || is_broken || of_grpc.is_some() {
            span.fail();
        }
    }

    fn append_client(&self, out: &mut Vec<u8>, number: usize) {
        let Self { record, kept, .. } = self;
        let Some(attempt) = record.attempt_records.get(number) else { return };
        let is_relayed = attempt.is_relayed;
        let head = self.client_head(attempt, attempt.took.filter(|_| !is_relayed));
        let call = ModelCall::of(record, kept, attempt, is_relayed);
        let (name, original) = method(&record.method);
        let facts = |notes| Facts::of_attempt(record, notes, attempt, self.duration);
        let custom = custom::name(kept, |spans| spans.attempt_name.as_ref(), facts);
        let write_name = |text: &mut TextWriter<'_>| match (&custom, &call) {
            (Some(custom), _) => text.push(custom),
            (None, Some(call)) => call.push_name(text),
            (None, None) => text.push(name),
        };
        let grpc_status = kept.grpc_status.filter(|_| is_relayed);
        append_span(out, &head, write_name, |span| {
            let attributes = span.attributes();
            attributes.text("http.request.method", name);
            attributes.option("http.request.method_original", original);
            endpoint_address(attributes, attempt);
            if number > 0 {
                attributes.number("http.request.resend_count", number as u64);
            }
            if let Some(status) = attempt.status {
                attributes.number("http.response.status_code", status.as_u16().into());
            }
            if let Some(call) = &call {
                call.append(attributes);
            }
            if let Some(endpoint) = record.prefill_endpoint.as_deref().filter(|_| is_relayed) {
                attributes.text("pailou.role", "decode");
                attributes.text("pailou.prefill.endpoint", endpoint);
            }
            grpc::append(attributes, grpc_status);
            custom::append(kept, attributes, facts);
            // One that was under way at the request's end ended with it.
            let flag = attempt.flag.or(if is_relayed || attempt.took.is_none() { record.flag } else { None });
            let error = match (flag, &attempt.status, grpc::error(grpc_status, SpanKind::Client)) {
                (Some(flag), ..) => Some(flag.code()),
                (None, Some(status), _) if status.is_client_error() || status.is_server_error() => Some(status.as_str()),
                (None, _, name) => name,
            };
            attributes.option("error.type", error);
            if let Some(call) = &call {
                call.append_content(attributes);
            }
            if error.is_some() && flag != Some(Flag::ClientGone) {
                span.fail();
            }
        });
    }

    /// The head of an attempt's span; one that has not ended by itself ends with the request.
    fn client_head(&self, attempt: &AttemptRecord, took: Option<Duration>) -> SpanHead<'_> {
        let start = self.start_of(attempt);
        SpanHead {
            trace_id: self.trace.trace_id,
            span_id: attempt.span_id,
            parent: Some(self.trace.span_id),
            is_parent_remote: false,
            trace_state: &self.kept.trace_state,
            flags: self.trace.flags(),
            kind: SpanKind::Client,
            start,
            end: took.map_or_else(|| self.at(self.duration), |took| start.saturating_add(nanos(took))),
        }
    }

    fn start_of(&self, attempt: &AttemptRecord) -> u64 {
        self.at(attempt.started.saturating_duration_since(self.record.started))
    }

    fn at(&self, after: Duration) -> u64 {
        self.begin.saturating_add(nanos(after))
    }
}

fn unix_nanos(record: &RequestRecord) -> u64 {
    record.time.duration_since(std::time::UNIX_EPOCH).map_or(0, nanos)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
