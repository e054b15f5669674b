//! The times of a picked request, from which its endpoint's are learnt.

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use crate::{
    endpoint::{EndpointRecord, PoolEndpoint},
    latency::LoadFigures,
    objective::{Objective, ObjectiveCounts},
    pick_request::PickRequest,
    score::Candidate,
};

/// Most tokens of a prompt that count as awaiting prefill.
const MOST_TOKENS: f32 = 16_777_216.0;

/// A request at its endpoint.
#[derive(Debug, Default)]
pub(crate) struct Timed {
    objective: Objective,
    prompt_tokens: f32,
    /// The endpoint's figures that the pick saw.
    figures: LoadFigures,
    /// Tokens of it that are to be computed there.
    own_tokens: u64,
    /// Tokens that count as awaiting prefill there.
    pending: u64,
    /// Its prompt is computed by another endpoint.
    is_prefilled_elsewhere: bool,
    /// It tells when its prompt has been computed.
    tells_prefill: bool,
    /// When it was sent there.
    sent_at: Option<Instant>,
    /// When the first token of a streamed response came.
    first_token_at: Option<Instant>,
}

impl Timed {
    /// A request that goes to its first endpoint.
    pub(crate) fn begin(request: &PickRequest<'_>, candidate: &Candidate, record: &EndpointRecord, now: Instant) -> Self {
        let mut timed = Self {
            objective: request.objective,
            prompt_tokens: request.prompt_tokens(),
            tells_prefill: request.tells_prefill,
            ..Self::default()
        };
        timed.send(candidate, record, now);
        timed
    }

    /// It goes to another endpoint.
    pub(crate) fn moved(&mut self, from: &EndpointRecord, candidate: &Candidate, record: &EndpointRecord, now: Instant) {
        // Another picker's choice is not timed.
        if self.sent_at.is_some() {
            self.release(from);
            self.send(candidate, record, now);
        }
    }

    fn send(&mut self, candidate: &Candidate, record: &EndpointRecord, now: Instant) {
        self.figures = candidate.figures(self.prompt_tokens);
        self.own_tokens = (self.figures.prefill_tokens - candidate.pending).clamp(0.0, MOST_TOKENS) as u64;
        self.reserve(record);
        self.sent_at = Some(now);
    }

    fn reserve(&mut self, record: &EndpointRecord) {
        if !self.is_prefilled_elsewhere {
            self.pending = self.own_tokens;
            record.prefill.fetch_add(self.pending, Relaxed);
            if self.tells_prefill {
                record.told_prefill.fetch_add(self.pending, Relaxed);
            }
        }
    }

    /// Whether another endpoint computes the prompt, at whose own pick it awaits that.
    pub(crate) fn prefill_elsewhere(&mut self, is_so: bool, record: &EndpointRecord) {
        self.release(record);
        self.is_prefilled_elsewhere = is_so;
        self.reserve(record);
    }

    /// Content has come; `first_token` is its time, where it is that of a stream.
    pub(crate) fn content(&mut self, endpoint: &PoolEndpoint, counts: &ObjectiveCounts, first_token: Option<Instant>) {
        self.release(&endpoint.record);
        let Some((now, sent_at)) = first_token.zip(self.sent_at).filter(|_| self.first_token_at.is_none()) else { return };
        let took = now.saturating_duration_since(sent_at);
        // Another endpoint's time says nothing of this one's.
        if !self.is_prefilled_elsewhere {
            endpoint.latency.learn_first_token(self.figures, took);
        }
        counts.first_token(&self.objective, took.as_secs_f32());
        self.first_token_at = Some(now);
    }

    /// The response has ended, with so many tokens. The time is asked for only where its first token's is known.
    pub(crate) fn finished(
        &self,
        endpoint: &PoolEndpoint,
        counts: &ObjectiveCounts,
        output_tokens: u64,
        now: impl FnOnce() -> Instant,
    ) {
        let Some(first) = self.first_token_at.filter(|_| output_tokens > 1) else { return };
        let took = now().saturating_duration_since(first).div_f64((output_tokens - 1) as f64);
        endpoint.latency.learn_further_token(self.figures, took);
        counts.further_token(&self.objective, took.as_secs_f32());
    }

    /// Nothing of it awaits prefill any more.
    pub(crate) fn release(&mut self, record: &EndpointRecord) {
        // Mostly there is nothing left: its content came before its end.
        let pending = std::mem::take(&mut self.pending);
        if pending > 0 {
            record.prefill.fetch_sub(pending, Relaxed);
            if self.tells_prefill {
                record.told_prefill.fetch_sub(pending, Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests;
