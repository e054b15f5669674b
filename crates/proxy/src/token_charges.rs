//! Room held in limits for a request's response, and its cost once the response has ended.

use http::StatusCode;
use pailou_limits::{Reservation, TokenCount, Tokens};

use crate::{
    error::Flag,
    limit_service_calls::{EndedCost, ServiceCharges},
    request_record::RequestRecord,
    response_cost::{HeldCharge, ResponseCost, UnknownCost, call},
    wall_clock::unix_seconds,
};

/// Bytes of a response that make a token, where nobody has counted.
const BYTES_PER_TOKEN: u64 = 4;

/// Share of the events seen, one in so many, that is held ahead of a stream that is longer than was expected, and the least of it.
const AHEAD: (u64, u64) = (4, 64);

/// Reservations of one request. Those that are dropped go back.
pub(crate) struct TokenCharges {
    held: Vec<HeldCharge>,
    /// Costs that a rate limit service counts.
    by_service: Vec<ServiceCharges>,
    /// Tokens of the prompt, estimated.
    prompt: u64,
    /// Events of a stream beyond which more is to be held.
    covered: u64,
}

impl Default for TokenCharges {
    fn default() -> Self {
        Self { held: Vec::new(), by_service: Vec::new(), prompt: 0, covered: u64::MAX }
    }
}

impl TokenCharges {
    /// Adds a reservation with the cost that settles it; [`Self::cover`] follows the last.
    pub(crate) fn push(&mut self, prompt: u64, held: HeldCharge) {
        self.prompt = prompt;
        self.held.push(held);
    }

    /// Reservations so far.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Gives all reservations back but the first so many.
    pub(crate) fn truncate(&mut self, held: usize) {
        self.held.truncate(held);
    }

    /// Adds costs that a rate limit service is told at the end.
    pub(crate) fn extend_by_service(&mut self, prompt: u64, charges: ServiceCharges) {
        self.prompt = prompt;
        self.by_service.push(charges);
        self.cover();
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.by_service.is_empty()
    }

    /// Whether tokens of the response are charged.
    pub(crate) fn counts_tokens(&self) -> bool {
        let by_service = self.by_service.iter().flat_map(|it| &it.charges).map(|it| &it.cost);
        let mut all = self.held.iter().map(|it| &it.cost).chain(by_service);
        all.any(|cost| matches!(cost, ResponseCost::Tokens(_) | ResponseCost::Computed(_)))
    }

    /// Holds more room where a stream has more events than was held for: a quarter more than there were, so that a long stream seldom asks,
    /// and others see what it spends.
    pub(crate) fn stream_progress(&mut self, events: u64, record: &RequestRecord) {
        if events <= self.covered {
            return;
        }
        let ahead = events.saturating_add((events / AHEAD.0).max(AHEAD.1));
        let tokens = Tokens::of(self.prompt, ahead);
        let by_service = self.by_service.iter_mut().flat_map(|it| &mut it.charges);
        let by_service = by_service.filter_map(|it| Some((it.reservation.as_mut()?, &mut it.cost)));
        for (reservation, cost) in self.held.iter_mut().map(|it| (&mut it.reservation, &mut it.cost)).chain(by_service) {
            match cost {
                ResponseCost::Tokens(count) => reservation.grow_to(count.of(tokens)),
                ResponseCost::Computed(cost) if events > cost.covered => {
                    reservation.grow_to(cost.of(record.costs.as_deref(), &call(record, tokens)).0);
                    cost.covered = ahead;
                }
                ResponseCost::Computed(_) | ResponseCost::Number(_) | ResponseCost::Held => {}
            }
        }
        self.cover();
        // In a window that is over nothing grows.
        self.covered = self.covered.max(ahead);
    }

    /// Notes how many events the room lasts for.
    pub(crate) fn cover(&mut self) {
        let by_service = self.by_service.iter().flat_map(|it| &it.charges);
        let by_service = by_service.filter_map(|it| Some((it.reservation.as_ref()?, &it.cost)));
        let all = self.held.iter().map(|it| (&it.reservation, &it.cost)).chain(by_service);
        let outputs = all.filter_map(|(reservation, cost)| match cost {
            ResponseCost::Tokens(TokenCount::Output) => Some(reservation.held()),
            ResponseCost::Tokens(TokenCount::Total) => Some(reservation.held().saturating_sub(self.prompt)),
            ResponseCost::Computed(cost) => Some(cost.covered),
            ResponseCost::Tokens(_) | ResponseCost::Number(_) | ResponseCost::Held => None,
        });
        self.covered = outputs.min().unwrap_or(u64::MAX);
    }

    /// Charges the cost of a response that has ended, however it did. Gives back a cost that could not be computed.
    pub(crate) fn settle(&mut self, record: &RequestRecord) -> Option<UnknownCost> {
        let (now, ended, mut unknown) = (unix_seconds(), self.ended(record), None);
        for HeldCharge { reservation, cost } in self.held.drain(..) {
            match ended.cost(&cost, reservation.held(), record, &mut unknown) {
                // It gives the room back.
                None => drop(reservation),
                Some(EndedCost { cost, size: Some(size) }) => reservation.settle_computed(now, cost, size),
                Some(EndedCost { cost, size: None }) => reservation.settle_estimate(now, cost),
            }
        }
        for charges in self.by_service.drain(..) {
            charges.settle(|charge| {
                let expected = charge.reservation.as_ref().map_or(charge.expected, Reservation::held);
                let known = if matches!(charge.cost, ResponseCost::Held) { charge.expected } else { expected };
                ended.cost(&charge.cost, known, record, &mut unknown)
            });
        }
        unknown
    }

    /// How a response ended.
    fn ended(&self, record: &RequestRecord) -> Ended {
        let has_worked = record.attempts > 0;
        if record.status.is_none() && has_worked && record.flag == Some(Flag::ClientGone) {
            return Ended::Unseen;
        }
        // A backend that was too slow had the prompt.
        let is_late = has_worked && record.flag == Some(Flag::Timeout);
        let tokens = self.tokens(record).or_else(|| is_late.then(|| Tokens::of(self.prompt, record.content_events)));
        tokens.map_or(Ended::Free, |tokens| Ended::Counted { tokens, is_typical: record.flag.is_none() })
    }

    /// Tokens of a response; `None` if it cost nothing. A count that came before the end, as Anthropic's streams begin with one, is no
    /// less than the events that came. Where the backend did not count, those of the prompt and the events are charged, or the
    /// length of a response without events: a client that hangs up, and an engine that says nothing, are not free.
    fn tokens(&self, record: &RequestRecord) -> Option<Tokens> {
        if let Some(counted) = record.counted_tokens() {
            let seen = if record.flag.is_some() { record.content_events } else { 0 };
            let more = seen.saturating_sub(counted.output);
            let (output, total) = (counted.output.max(seen), counted.total.saturating_add(more));
            return Some(Tokens { output, total, ..counted });
        }
        if !record.status.is_some_and(|status| status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS) {
            return None;
        }
        let output = match record.content_events {
            0 if self.prompt > 0 => record.response_bytes / BYTES_PER_TOKEN,
            events => events,
        };
        Some(Tokens::of(self.prompt, output))
    }
}

/// End of a response, as far as it tells a cost.
#[derive(Clone, Copy)]
enum Ended {
    /// It cost nothing, and says nothing of what responses cost.
    Free,
    /// The client left while a backend worked: nobody knows for how long that went on.
    Unseen,
    /// It had so many tokens.
    Counted { tokens: Tokens, is_typical: bool },
}

impl Ended {
    /// Cost of the response, of which so much was expected; `None` if it cost nothing. Notes a cost that cannot be computed.
    fn cost(
        self,
        cost: &ResponseCost,
        expected: u64,
        record: &RequestRecord,
        unknown: &mut Option<UnknownCost>,
    ) -> Option<EndedCost> {
        let (tokens, is_typical) = match self {
            Self::Free => return None,
            Self::Unseen => return Some(EndedCost { cost: expected, size: None }),
            Self::Counted { tokens, is_typical } => (tokens, is_typical),
        };
        let (cost, size) = match cost {
            ResponseCost::Number(number) => (*number, *number),
            ResponseCost::Tokens(count) if record.usage.is_some() || count.is_estimable() => (count.of(tokens), count.of(tokens)),
            // The fact was known before, or only the backend knows it.
            ResponseCost::Tokens(_) | ResponseCost::Held => (expected, expected),
            ResponseCost::Computed(computed) => {
                let (cost, failure) = computed.of(record.costs.as_deref(), &call(record, tokens));
                *unknown = unknown.take().or(failure.map(|failure| UnknownCost { key: computed.key.clone(), failure }));
                (cost, tokens.output)
            }
        };
        Some(EndedCost { cost, size: is_typical.then_some(size) })
    }
}
