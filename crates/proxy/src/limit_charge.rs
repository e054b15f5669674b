//! Charges of a request to limits: to those of a route's rule, or of a backend.

mod charging;

use std::{fmt, sync::Arc, time::Duration};

use pailou_ai::Scan;
use pailou_auth::Metadata;
use pailou_limits::{
    Charge, Cost, Counters, Descriptor, ExpectedCost, LimitRule, LlmCost, LlmCostFailure, LlmCosts, MetadataKey, ModelCall, Rate,
    Reservation, TokenCount, Tokens, Window,
};
use pailou_store::Undecided;
use serde_json::Value;

use charging::Charging;

use crate::{
    context::Context,
    error::{Error, Flag},
    possible_backends::PossibleBackends,
    request_record::RequestRecord,
    response_cost::{ComputedCost, HeldCharge, ResponseCost, UnknownCost},
    shared_limits::StoreBudget,
    token_charges::TokenCharges,
};

/// Bytes of a prompt that make a token, where nobody has counted: English text in the usual vocabularies.
const BYTES_PER_TOKEN: u64 = 4;

/// Tokens that are held for an answer whose length the client does not limit, at least.
const SHORT_ANSWER: u64 = 256;

/// A request as charges are made for it.
#[derive(Clone, Copy)]
pub(crate) struct ChargedRequest<'a> {
    pub(crate) context: &'a Context,
    /// Result of the body's scan, where it is a model call.
    pub(crate) scan: Option<&'a Scan>,
    /// Facts of the client.
    pub(crate) metadata: &'a Metadata,
    /// Costs of models' responses, and prices.
    pub(crate) costs: Option<&'a LlmCosts>,
    /// Backends that it may go to.
    pub(crate) backends: PossibleBackends<'a>,
    /// Time that the store of shared limits has.
    pub(crate) store_budget: &'a StoreBudget,
}

/// The cost of a response, and what is expected of it where that is known.
pub(crate) struct ExpectedResponse {
    pub(crate) cost: ResponseCost,
    estimate: u64,
}

/// Charges of one request.
#[derive(Default)]
pub(crate) struct Charges {
    /// Room that is held for the response.
    pub(crate) tokens: TokenCharges,
    /// Charges, each with the begin of its window. They go back where a later limit refuses the request.
    made: Vec<(u64, Charge)>,
}

/// Limit whose store has to be waited for, on a request's way through its limits. The store has been asked: to ask once more would claim room twice.
pub(crate) struct Halt {
    /// Its place among the limits.
    place: usize,
    undecided: Undecided,
    /// Reservations that were there before the first limit.
    held_before: usize,
    /// Limits before it without room that refuse nothing.
    shadowed: u64,
}

/// Reason why a request was not charged. All that it was charged before has gone back.
#[derive(Debug)]
pub(crate) enum NoCharge<'r> {
    /// A limit has no room.
    Refused(&'r LimitRule, Rate),
    /// A limit cannot be counted.
    Uncounted(Error),
}

/// Charge of a request to the limits of its backend. Dropped before the first attempt at that, it goes back.
pub(crate) struct BackendCharge {
    pub(crate) charges: Charges,
    context: Arc<Context>,
    /// The backend has been asked.
    is_asked: bool,
}

impl Charges {
    /// Charges a request to every limit that is for it, and holds room for its response. `target` is the identity of the targets that share
    /// a counter, where not all of the policy's do. `note` gets what each limit has left. `halt` is where [`Self::charge_now`] has ended, of
    /// the same limits.
    ///
    /// # Errors
    /// A limit has no room, or cannot be counted.
    pub(crate) async fn charge<'r>(
        &mut self,
        request: &ChargedRequest<'_>,
        (selected, halt): (Vec<(&'r LimitRule, Descriptor)>, Option<Halt>),
        target: impl Fn() -> u64,
        mut note: impl FnMut(&'r LimitRule, Rate),
    ) -> Result<(), NoCharge<'r>> {
        let mut charging = Charging::begin(self, request, selected, target);
        let mut waiting = match halt {
            Some(halt) => charging.resume(halt)?,
            None => charging.advance(&mut note)?,
        };
        while let Some(limit) = waiting {
            // Boxed: most charges wait for no store, and would carry the room it needs.
            let (rule, rate) = Box::pin(charging.wait(limit)).await?;
            note(rule, rate);
            waiting = charging.advance(&mut note)?;
        }
        Ok(())
    }

    /// The same as far as no store has to be waited for. Gives back where it ended, if one has to: the charges so far stay.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn charge_now<'r>(
        &mut self,
        request: &ChargedRequest<'_>,
        selected: Vec<(&'r LimitRule, Descriptor)>,
        target: impl Fn() -> u64,
        mut note: impl FnMut(&'r LimitRule, Rate),
    ) -> Result<Option<Halt>, NoCharge<'r>> {
        let mut charging = Charging::begin(self, request, selected, target);
        Ok(charging.advance(&mut note)?.map(|waiting| charging.halt(waiting)))
    }

    /// Takes back what the request was charged.
    pub(crate) fn refund(&mut self, counters: &Counters) {
        self.made.drain(..).for_each(|(begin, charge)| counters.refund(begin, &charge));
    }
}

impl NoCharge<'_> {
    /// The response: 429 where a limit has no room.
    pub(crate) fn into_error(self) -> Error {
        let (rule, rate) = match self {
            Self::Refused(rule, rate) => (rule, rate),
            Self::Uncounted(error) => return error,
        };
        let message = match rate.limit {
            0 => "this request is not allowed at this time".to_owned(),
            _ => format!("rate limit exceeded; try again in {} s", rate.reset.max(1)),
        };
        Error::new(Flag::RateLimited, message)
            .with_code("rate_limit_exceeded")
            .with_retry_after(Duration::from_secs(rate.reset.max(1)))
            .with_detail(format!("limit {}: {} in {} s", rule.name, rate.limit, rate.seconds))
    }
}

impl BackendCharge {
    /// A charge of nothing yet.
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { charges: Charges::default(), context, is_asked: false }
    }

    /// Notes that the backend is asked.
    pub(crate) fn ask(&mut self) {
        self.is_asked = true;
    }

    /// Whether tokens of the response are charged.
    pub(crate) fn counts_tokens(&self) -> bool {
        self.charges.tokens.counts_tokens()
    }

    /// Holds more room where a stream has more events than was held for.
    pub(crate) fn stream_progress(&mut self, events: u64, record: &RequestRecord) {
        self.charges.tokens.stream_progress(events, record);
    }

    /// Charges the cost of the request for good, if the backend has been asked. Room that is held for a response goes back.
    pub(crate) fn keep(mut self) {
        if self.is_asked {
            self.charges.made.clear();
        }
    }

    /// Charges the cost of a response that has ended, however it did. A backend that was not asked is charged nothing. Gives back a
    /// cost that could not be computed.
    pub(crate) fn settle(mut self, record: &RequestRecord) -> Option<UnknownCost> {
        if !self.is_asked {
            return None;
        }
        self.charges.made.clear();
        self.charges.tokens.settle(record)
    }
}

impl Drop for BackendCharge {
    fn drop(&mut self) {
        self.charges.refund(&self.context.limits);
    }
}

impl ExpectedResponse {
    /// The cost, with the room held for it.
    pub(crate) fn held(mut self, reservation: Reservation) -> HeldCharge {
        if let ResponseCost::Computed(computed) = &mut self.cost
            && reservation.held() < self.estimate
        {
            let share = u128::from(computed.covered) * u128::from(reservation.held()) / u128::from(self.estimate);
            computed.covered = share as u64;
        }
        HeldCharge { reservation, cost: self.cost }
    }
}

impl ChargedRequest<'_> {
    /// The charge by a rule, without the cost of the response.
    fn charge(&self, rule: &LimitRule, descriptor: Descriptor, target: u64) -> Charge {
        let rate = match self.own_limit(rule) {
            Some((requests, seconds)) => (requests, Window { seconds, ..rule.window }),
            None => (rule.limit, rule.window),
        };
        self.charge_within(rule, (descriptor, target), rate)
    }

    /// The same under a limit in place of the rule's own.
    pub(crate) fn charge_within(
        &self,
        rule: &LimitRule,
        (descriptor, target): (Descriptor, u64),
        (limit, window): (u64, Window),
    ) -> Charge {
        Charge {
            name: rule.name.clone(),
            rule: (rule.id, target),
            descriptor,
            window,
            limit,
            cost: self.cost(&rule.request_cost),
            expected: None,
            is_shadow: rule.is_shadow,
        }
    }

    /// The response to expect, of which the charge notes the cost.
    ///
    /// # Errors
    /// 500 where the cost of the response cannot be counted: the limit would be off.
    pub(crate) fn expect(
        &self,
        rule: &LimitRule,
        cost: &Cost,
        prompt: u64,
        charge: &mut Charge,
    ) -> Result<ExpectedResponse, Error> {
        let uncountable = |why: &dyn fmt::Display| {
            Error::new(Flag::Misconfigured, "a limit of this request cannot be counted")
                .with_detail(format!("limit {}: {why}", rule.name))
        };
        let (expected, cost) = match cost {
            Cost::Llm(key) => match LlmCosts::find(self.costs, key).map_err(|error| uncountable(&error))? {
                LlmCost::Tokens(count) => self.tokens(count, prompt, charge),
                cost => self
                    .computed(cost, key, prompt, charge)
                    .map_err(|error| Error { is_unpriced: error == LlmCostFailure::Unpriced, ..uncountable(&error) })?,
            },
            Cost::Tokens(count) => self.tokens(*count, prompt, charge),
            Cost::Number(number) => (ExpectedCost::Known(*number), ResponseCost::Number(*number)),
            Cost::Metadata(_) => (ExpectedCost::Known(self.cost(cost)), ResponseCost::Held),
        };
        charge.expected = Some(expected);
        let estimate = if let ExpectedCost::Known(estimate) = expected { estimate } else { 0 };
        Ok(ExpectedResponse { cost, estimate })
    }

    /// Tokens of a response, and how many to expect.
    fn tokens(&self, count: TokenCount, prompt: u64, charge: &Charge) -> (ExpectedCost, ResponseCost) {
        let of = |output: u64| count.of(Tokens::of(prompt, output));
        let expected = match (count, self.scan.map(|scan| scan.max_output)) {
            (_, None) => ExpectedCost::Known(0),
            (TokenCount::Input, _) => ExpectedCost::Known(prompt),
            (TokenCount::Output | TokenCount::Total, Some(Some(output))) => {
                ExpectedCost::Known(of(output.min(self.context.limits.experience(charge).plausible)))
            }
            (_, Some(_)) => ExpectedCost::Learned(of(SHORT_ANSWER)),
        };
        (expected, ResponseCost::Tokens(count))
    }

    /// A cost that is computed of a response's tokens, and the one of the tokens to expect.
    fn computed(
        &self,
        cost: LlmCost,
        key: &Arc<str>,
        prompt: u64,
        charge: &Charge,
    ) -> Result<(ExpectedCost, ResponseCost), LlmCostFailure> {
        let tokens = self.scan.map(|scan| {
            let experience = self.context.limits.experience(charge);
            let output = match scan.max_output {
                Some(output) => output.min(experience.plausible),
                None => experience.typical.max(SHORT_ANSWER),
            };
            Tokens::of(prompt, output)
        });
        let tokens = tokens.unwrap_or_default();
        let model = self.scan.and_then(|scan| scan.model.as_deref());
        let call = ModelCall { model, tokens, ..ModelCall::default() };
        let estimate = self.backends.dearest(&cost, self.costs, &call)?;
        let computed = ComputedCost { cost, key: key.clone(), covered: tokens.output };
        Ok((ExpectedCost::Known(estimate), ResponseCost::Computed(computed)))
    }

    /// The client's own limit, and its window in seconds: `{requests_per_unit, unit}` among its facts.
    pub(crate) fn own_limit(&self, rule: &LimitRule) -> Option<(u64, u64)> {
        let own = self.find(rule.limit_from.as_ref()?)?;
        Some((own.get("requests_per_unit")?.as_u64()?, seconds(own.get("unit")?.as_str()?)?))
    }

    fn find(&self, key: &MetadataKey) -> Option<&Value> {
        self.metadata.find(&key.namespace, &key.key)
    }

    /// Cost of a request, as far as it is known.
    pub(crate) fn cost(&self, cost: &Cost) -> u64 {
        match cost {
            Cost::Number(number) => *number,
            Cost::Metadata(key) => self.find(key).and_then(Value::as_u64).unwrap_or(0),
            // Nothing is known of a response yet.
            Cost::Tokens(_) | Cost::Llm(_) => 0,
        }
    }

    /// Tokens of the prompt, estimated by its length; 0 for a body that is no model call.
    pub(crate) fn prompt_tokens(&self) -> u64 {
        self.scan.map_or(0, |scan| scan.content_bytes.div_ceil(BYTES_PER_TOKEN))
    }
}

fn seconds(unit: &str) -> Option<u64> {
    const DAY: u64 = 24 * 60 * 60;
    Some(match &*unit.to_ascii_uppercase() {
        "SECOND" => 1,
        "MINUTE" => 60,
        "HOUR" => 60 * 60,
        "DAY" => DAY,
        "WEEK" => 7 * DAY,
        "MONTH" => 30 * DAY,
        "YEAR" => 365 * DAY,
        _ => return None,
    })
}
