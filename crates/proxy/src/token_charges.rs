//! Room held in limits for a request's response, and its cost once the response has ended.

use std::time::{SystemTime, UNIX_EPOCH};

use http::StatusCode;
use pailou_limits::{Cost, Reservation, Tokens};

use crate::{error::Flag, request_record::RequestRecord};

/// Reservations of one request. Those that are dropped go back.
#[derive(Default)]
pub(crate) struct TokenCharges {
    held: Vec<(Reservation, Cost)>,
    /// Tokens of the prompt, estimated.
    prompt: u64,
}

impl TokenCharges {
    /// Adds reservations, each with the cost that settles it.
    pub(crate) fn extend(&mut self, prompt: u64, held: impl Iterator<Item = (Reservation, Cost)>) {
        self.prompt = prompt;
        self.held.extend(held);
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Charges the cost of a response that has ended, however it did.
    pub(crate) fn settle(&mut self, record: &RequestRecord) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let Some(tokens) = self.tokens(record) else {
            // It cost nothing, and says nothing of what responses cost.
            self.held.clear();
            return;
        };
        for (reservation, cost) in self.held.drain(..) {
            match cost {
                Cost::Tokens(count) => reservation.settle(now, count.of(tokens)),
                Cost::Number(number) => reservation.settle(now, number),
                // The fact was known before.
                Cost::Metadata(_) => {
                    let cost = reservation.held();
                    reservation.settle(now, cost);
                }
            }
        }
    }

    /// Tokens of a response. Where the backend did not count them, those of the prompt and the events that came are charged: a client
    /// that hangs up, and an engine that says nothing, are not free.
    fn tokens(&self, record: &RequestRecord) -> Option<Tokens> {
        if let Some(usage) = record.usage {
            return Some(Tokens { input: usage.input_tokens, output: usage.output_tokens, total: usage.total_tokens });
        }
        let is_answered = record.status.is_some_and(|status| status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS);
        let was_left = record.attempts > 0 && record.flag == Some(Flag::ClientGone);
        if !is_answered && !was_left {
            return None;
        }
        let output = record.content_events.max(if is_answered { record.response_bytes.min(1) } else { 0 });
        Some(Tokens { input: self.prompt, output, total: self.prompt.saturating_add(output) })
    }
}
