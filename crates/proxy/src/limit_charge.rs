//! Charges of a request to limits: to those of a route's rule, or of a backend.

use std::{sync::Arc, time::Duration};

use pailou_ai::Scan;
use pailou_auth::Metadata;
use pailou_limits::{
    Admission, Charge, Cost, Counters, Descriptor, ExpectedCost, LimitRule, MetadataKey, Rate, Reach, TokenCount, Tokens, Window,
};
use serde_json::Value;

use crate::{
    context::Context,
    error::{Error, Flag},
    request_record::RequestRecord,
    shared_limits,
    token_charges::TokenCharges,
    wall_clock::unix_seconds,
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
}

/// Charges of one request.
#[derive(Default)]
pub(crate) struct Charges {
    /// Room that is held for the response.
    pub(crate) tokens: TokenCharges,
    /// Charges, each with the begin of its window. They go back where a later limit refuses the request.
    made: Vec<(u64, Charge)>,
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
    charges: Charges,
    context: Arc<Context>,
}

impl Charges {
    /// Charges a request to every limit that is for it, and holds room for its response. `target` is the identity of the targets that share
    /// a counter, where not all of the policy's do. `note` gets what each limit has left.
    ///
    /// # Errors
    /// A limit has no room, or cannot be counted.
    pub(crate) async fn charge<'r>(
        &mut self,
        request: &ChargedRequest<'_>,
        selected: Vec<(&'r LimitRule, Descriptor)>,
        target: impl Fn() -> u64,
        mut note: impl FnMut(&'r LimitRule, Rate),
    ) -> Result<(), NoCharge<'r>> {
        let context = request.context;
        let (now, prompt) = (unix_seconds(), request.prompt_tokens());
        let (mut held, mut deadline, mut target_id) = (Vec::new(), None, None);
        for (rule, descriptor) in selected {
            let target = if rule.reach == Reach::Policy { 0 } else { *target_id.get_or_insert_with(&target) };
            let charge = request.charge(rule, descriptor, target, prompt);
            match shared_limits::admit(context, now, &charge, &mut deadline).await {
                Ok(Admission::Admitted { rate, begin, reservation, is_over }) => {
                    if is_over {
                        context.metrics.shadowed_limits.inc();
                    }
                    note(rule, rate);
                    held.extend(reservation.zip(rule.response_cost.clone()));
                    self.made.push((begin, charge));
                }
                Ok(Admission::Refused(rate)) => {
                    self.refund(&context.limits);
                    return Err(NoCharge::Refused(rule, rate));
                }
                Err(error) => {
                    self.refund(&context.limits);
                    return Err(NoCharge::Uncounted(error));
                }
            }
        }
        self.tokens.extend(prompt, held.into_iter());
        Ok(())
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
    /// A charge that was made.
    pub(crate) fn new(charges: Charges, context: Arc<Context>) -> Self {
        Self { charges, context }
    }

    /// Whether tokens of the response are charged.
    pub(crate) fn counts_tokens(&self) -> bool {
        self.charges.tokens.counts_tokens()
    }

    /// Holds more room where a stream has more events than was held for.
    pub(crate) fn stream_progress(&mut self, events: u64) {
        self.charges.tokens.stream_progress(events);
    }

    /// Charges the cost of the request for good: the backend has been asked. Room that is held for a response goes back.
    pub(crate) fn keep(mut self) {
        self.charges.made.clear();
    }

    /// Charges the cost of a response that has ended, however it did. A request that no backend was asked for costs nothing.
    pub(crate) fn settle(mut self, record: &RequestRecord) {
        if record.attempts > 0 {
            self.charges.made.clear();
            self.charges.tokens.settle(record);
        }
    }
}

impl Drop for BackendCharge {
    fn drop(&mut self) {
        self.charges.refund(&self.context.limits);
    }
}

impl ChargedRequest<'_> {
    fn charge(&self, rule: &LimitRule, descriptor: Descriptor, target: u64, prompt: u64) -> Charge {
        let rate = match self.own_limit(rule) {
            Some((requests, seconds)) => (requests, Window { seconds, ..rule.window }),
            None => (rule.limit, rule.window),
        };
        self.charge_within(rule, (descriptor, target), prompt, rate)
    }

    /// A charge under a limit in place of the rule's own.
    pub(crate) fn charge_within(
        &self,
        rule: &LimitRule,
        (descriptor, target): (Descriptor, u64),
        prompt: u64,
        (limit, window): (u64, Window),
    ) -> Charge {
        let mut charge = Charge {
            name: rule.name.clone(),
            rule: (rule.id, target),
            descriptor,
            window,
            limit,
            cost: self.cost(&rule.request_cost),
            expected: rule.response_cost.as_ref().map(|cost| self.expected(cost, prompt)),
            is_shadow: rule.is_shadow,
        };
        if let Some(ExpectedCost::Known(expected)) = charge.expected
            && expected > prompt
        {
            let certain = if rule.response_cost == Some(Cost::Tokens(TokenCount::Total)) { prompt } else { 0 };
            let output = (expected - certain).min(self.context.limits.plausible_cost(&charge));
            charge.expected = Some(ExpectedCost::Known(certain.saturating_add(output)));
        }
        charge
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
            Cost::Tokens(_) => 0,
        }
    }

    /// Cost to expect of a response.
    pub(crate) fn expected(&self, cost: &Cost, prompt: u64) -> ExpectedCost {
        let count = match cost {
            Cost::Tokens(count) => *count,
            other => return ExpectedCost::Known(self.cost(other)),
        };
        let Some(scan) = self.scan else { return ExpectedCost::Known(0) };
        let of = |output: u64| count.of(Tokens { input: prompt, output, total: prompt.saturating_add(output) });
        match (count, scan.max_output) {
            (TokenCount::Input, _) => ExpectedCost::Known(prompt),
            (_, Some(output)) => ExpectedCost::Known(of(output)),
            (_, None) => ExpectedCost::Learned(of(SHORT_ANSWER)),
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
