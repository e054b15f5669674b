//! Trace of one request: its context, read at the head and written at each attempt, and what its spans need at the end.

mod headers;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName};
use pailou_snapshot::{CustomSpans, PathMatch};
use pailou_telemetry::{
    ids::{SpanId, TraceId},
    sampling::SamplingOverride,
    trace_context::Traceparent,
};

use crate::{model_content::ModelContent, model_spans::ModelSpans, request_notes::RequestNotes, tracer::Tracer};

/// Trace of a request whose Gateway has traces.
pub(crate) struct RequestTrace {
    pub(crate) tracer: Arc<Tracer>,
    pub(crate) trace_id: TraceId,
    /// The client's span.
    pub(crate) parent: Option<SpanId>,
    /// The gateway's span of the request.
    pub(crate) span_id: SpanId,
    is_random: bool,
    /// Whether the client's span is kept, where that is known.
    is_parent_sampled: Option<bool>,
    /// Data of its spans, if they are kept.
    pub(crate) kept: Option<Box<KeptTrace>>,
}

/// Data of a request's spans that nothing but a trace needs.
#[derive(Default)]
pub(crate) struct KeptTrace {
    /// `tracestate`, as the client sent it.
    pub(crate) trace_state: String,
    /// The client, as the listener finds it.
    pub(crate) client: Option<IpAddr>,
    /// `http` or `https`.
    pub(crate) scheme: &'static str,
    /// Port that the client came by.
    pub(crate) port: u16,
    /// The path of the match that the rule took the request by.
    pub(crate) route: Option<PathMatch>,
    /// The client wants a stream of events.
    pub(crate) is_stream: bool,
    /// The most tokens that the answer may have.
    pub(crate) max_tokens: Option<u64>,
    /// The model that the engine says answered.
    pub(crate) response_model: Option<Box<str>>,
    /// Why the model ended its answer.
    pub(crate) finish_reason: Option<Box<str>>,
    /// Status of gRPC, of the response's head or of its trailers.
    pub(crate) grpc_status: Option<u8>,
    /// Form of spans of model calls.
    pub(crate) model_spans: ModelSpans,
    /// Contents of the model call, where spans have them.
    pub(crate) content: Option<Box<ModelContent>>,
    /// Names and attributes by the configuration: the tracer's, and then the rule's.
    pub(crate) custom: Vec<CustomNotes>,
}

/// Names and attributes of spans by the configuration, and what they need of the request.
pub(crate) struct CustomNotes {
    pub(crate) spans: Arc<CustomSpans>,
    /// They are of the rule, and go before those of the tracer.
    pub(crate) is_of_rule: bool,
    pub(crate) notes: RequestNotes,
}

impl KeptTrace {
    /// Has spans of model calls in this form.
    pub(crate) fn in_form(&mut self, model_spans: ModelSpans) {
        self.model_spans = model_spans;
        self.content = model_spans.content.map(|sides| Box::new(ModelContent::new(sides)));
    }

    /// Keeps the status of gRPC, if there is one.
    pub(crate) fn keep_grpc_status(&mut self, map: &HeaderMap) {
        let status = map.get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
        self.grpc_status = status.or(self.grpc_status);
    }
}

impl RequestTrace {
    /// Goes on with the trace that a request belongs to, or begins one. A context that is not valid is removed, lest it goes on to backends.
    pub(crate) fn begin(tracer: Arc<Tracer>, map: &mut HeaderMap) -> Self {
        let propagators = tracer.settings.propagators;
        let context = headers::extract(map, propagators);
        let (trace_id, parent, is_random) = match context.parent {
            Some(parent) => (parent.trace_id, Some(parent.span_id), parent.is_random),
            None => (TraceId::from_random(fastrand::u128(..)), None, false),
        };
        let span_id = SpanId::from_random(fastrand::u64(..));
        let is_kept = tracer.settings.sampler.keeps(trace_id, context.is_sampled, || is_forced(map));
        let kept = is_kept.then(|| {
            let trace_state = if propagators.has_trace_context { headers::trace_state(map) } else { String::new() };
            Box::new(KeptTrace { trace_state, ..KeptTrace::default() })
        });
        Self { tracer, trace_id, parent, span_id, is_random, is_parent_sampled: context.is_sampled, kept }
    }

    /// Decides anew, by what the rule that takes the request sets; `make` makes the data of spans that are kept only now.
    pub(crate) fn sample(&mut self, set: SamplingOverride, map: &HeaderMap, make: impl FnOnce() -> KeptTrace) {
        let settings = &self.tracer.settings;
        if !settings.sampler.with(set).keeps(self.trace_id, self.is_parent_sampled, || is_forced(map)) {
            self.kept = None;
        } else if self.kept.is_none() {
            let has_state = settings.propagators.has_trace_context;
            let trace_state = if has_state { headers::trace_state(map) } else { String::new() };
            self.kept = Some(Box::new(KeptTrace { trace_state, ..make() }));
        }
    }

    /// Puts the context for one attempt into its headers, but for forms of which a header `is_edited`; gives the attempt's span.
    pub(crate) fn begin_attempt(&self, map: &mut HeaderMap, is_edited: impl Fn(&HeaderName) -> bool) -> SpanId {
        let span_id = SpanId::from_random(fastrand::u64(..));
        let forms = headers::unedited(self.tracer.settings.propagators, is_edited);
        headers::inject(map, forms, self.context_of(span_id), self.span_id);
        span_id
    }

    /// Flags of its `traceparent`.
    pub(crate) fn flags(&self) -> u8 {
        self.context_of(self.span_id).flags()
    }

    fn context_of(&self, span_id: SpanId) -> Traceparent {
        Traceparent { trace_id: self.trace_id, span_id, is_sampled: self.kept.is_some(), is_random: self.is_random }
    }
}

/// Whether the client forces its trace to be kept, by the header that Envoy reads for that.
fn is_forced(map: &HeaderMap) -> bool {
    map.contains_key("x-client-trace-id")
}
