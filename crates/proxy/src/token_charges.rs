//! Room held in limits for a request's response, and its cost once the response has ended.

use http::StatusCode;
use pailou_limits::{Cost, Reservation, Tokens};

use crate::{error::Flag, request_record::RequestRecord, wall_clock::unix_seconds};

/// Bytes of a response that make a token, where nobody has counted.
const BYTES_PER_TOKEN: u64 = 4;

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

    /// Whether tokens of the response are charged.
    pub(crate) fn counts_tokens(&self) -> bool {
        self.held.iter().any(|(_, cost)| matches!(cost, Cost::Tokens(_)))
    }

    /// Charges the cost of a response that has ended, however it did.
    pub(crate) fn settle(&mut self, record: &RequestRecord) {
        let now = unix_seconds();
        if record.status.is_none() && record.attempts > 0 && record.flag == Some(Flag::ClientGone) {
            // The client left while a backend worked: nobody knows for how long that went on.
            for (reservation, _) in self.held.drain(..) {
                let cost = reservation.held();
                reservation.settle(now, cost);
            }
            return;
        }
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

    /// Tokens of a response; `None` if it cost nothing. A count that came before the end, as Anthropic's streams begin with one, is no
    /// less than the events that came. Where the backend did not count, those of the prompt and the events are charged, or the
    /// length of a response without events: a client that hangs up, and an engine that says nothing, are not free.
    fn tokens(&self, record: &RequestRecord) -> Option<Tokens> {
        if let Some(usage) = record.usage {
            let seen = if record.flag.is_some() { record.content_events } else { 0 };
            let more = seen.saturating_sub(usage.output_tokens);
            let (output, total) = (usage.output_tokens.max(seen), usage.total_tokens.saturating_add(more));
            return Some(Tokens { input: usage.input_tokens, output, total });
        }
        if !record.status.is_some_and(|status| status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS) {
            return None;
        }
        let output = match record.content_events {
            0 if self.prompt > 0 => record.response_bytes / BYTES_PER_TOKEN,
            events => events,
        };
        Some(Tokens { input: self.prompt, output, total: self.prompt.saturating_add(output) })
    }
}
