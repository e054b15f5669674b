//! Reservations of a request under way.

use std::sync::Arc;

use http::HeaderMap;
use pailou_picker::Picked;

use crate::{
    admitted_attempt::AdmittedAttempt, breaker::Permit, cluster::Attempt, idle::Pulse, request_input::ReadBody,
    request_record::RequestRecord, upload::Watch,
};

/// Reservations held until a request has ended: its places at the breaker, the endpoint and the picker, and its body's memory.
pub(crate) struct Guards {
    _permit: Permit,
    _retry: Option<Permit>,
    _attempt: Attempt,
    body: Remains,
    picked: Option<Picked>,
    /// The place of a prefill elsewhere that the endpoint itself asks for, until the first content.
    prefill: Option<Box<Picked>>,
    /// Waits for the status of a response in gRPC, where there is admission control.
    admitted: Option<AdmittedAttempt>,
}

impl Guards {
    /// The reservations of a request whose response is certain.
    pub(crate) fn new(permit: Permit, retry: Option<Permit>, attempt: Attempt, body: Remains, picked: Option<Picked>) -> Self {
        Self { _permit: permit, _retry: retry, _attempt: attempt, body, picked, prefill: None, admitted: None }
    }

    /// The same with an attempt that admission control has yet to count.
    pub(crate) fn counting(mut self, admitted: Option<AdmittedAttempt>) -> Self {
        self.admitted = admitted;
        self
    }

    /// The same with the place of a prefill at another endpoint.
    pub(crate) fn prefilling(mut self, prefill: Option<Box<Picked>>) -> Self {
        self.prefill = prefill;
        self
    }

    /// The response's trailers have come.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.admitted = self.admitted.take().and_then(|admitted| admitted.with_grpc_status(trailers));
    }

    /// Content has come: the request will not move to another endpoint any more. That of a stream is the first token.
    pub(crate) fn content(&mut self, is_stream: bool) {
        if let Some(picked) = &mut self.picked {
            picked.first_token(is_stream);
        }
        self.prefill = None;
    }

    /// The pulse of a body that streams through.
    pub(crate) fn pulse(&self) -> Option<&Arc<Pulse>> {
        self.body.watch.as_ref().map(Watch::pulse)
    }

    /// The picker's reservation, if there is one.
    pub(crate) fn picked(&self) -> Option<&Picked> {
        self.picked.as_ref()
    }

    /// Gives everything back.
    pub(crate) fn release(self, record: &RequestRecord) {
        if let Some(admitted) = self.admitted {
            admitted.ended(record);
        }
        if let Some(picked) = &self.picked
            && record.flag.is_none()
            && record.status.is_some_and(|status| !status.is_server_error())
        {
            // A prefill at another endpoint says nothing of this one's cache.
            let here = record.usage.filter(|_| record.prefill_endpoint.is_none());
            picked.finished(here.and_then(|usage| usage.cached_tokens), record.generated_tokens());
            picked.counted(record.usage.map_or(0, |usage| usage.input_tokens));
        }
    }
}

/// Remains of a body, to keep until the request is over.
pub(crate) struct Remains {
    /// Accounts for a held body's memory.
    _held: Option<Box<ReadBody>>,
    /// Watches one that streams through.
    watch: Option<Watch>,
}

impl Remains {
    pub(crate) fn new(held: Option<Box<ReadBody>>, watch: Option<Watch>) -> Self {
        Self { _held: held, watch }
    }
}
