//! Requests that an operator waits for: their receipts know all of the head while it is there.

use pailou_snapshot::{KnownRequest, Listener};

use crate::{
    filter::{self, Stage},
    receipts,
    request_head::Head,
    request_input::RequestInput,
    request_log::RequestLog,
};

/// Marks a request for the first operator who waits for one like it. For a request that nobody waits for it is a branch.
pub(super) fn mark(listener: &Listener, stage: &Stage<'_>, head: &Head, input: &RequestInput, record: &mut RequestLog) {
    let receipts = &stage.connection.worker.context.receipts;
    // A request whose route is chosen again is judged once.
    if !receipts.is_traced() || record.trail.is_traced() {
        return;
    }
    let body = input.known(&stage.runtime.snapshot().base_models);
    let Some(tracer) = receipts.take_tracer(|condition| filter::holds(condition, stage, head, &body)) else { return };
    let (model, base_model) = match body {
        pailou_snapshot::Body::Read { model, base_model } => (model, base_model),
        pailou_snapshot::Body::Unread => (None, None),
    };
    let (method, path) = (&head.parts.method, head.parts.uri.path());
    let rest = Some((&head.parts.headers, head.parts.uri.query().unwrap_or_default()));
    let known = KnownRequest { host: &head.host, method, path, rest, model, base_model };
    record.trail.traced(tracer, receipts::rules(listener, &known, None));
}
