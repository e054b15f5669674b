//! Charges of one request, one limit after the other.

use pailou_limits::{Admission, Charge, Descriptor, LimitRule, Rate, Reach};

use super::{ChargedRequest, Charges, ExpectedResponse, NoCharge};
use crate::{error::Error, wall_clock::unix_seconds};

/// A request on its way through limits.
pub(super) struct Charging<'c, 'q> {
    charges: &'c mut Charges,
    request: &'q ChargedRequest<'q>,
    /// Seconds since 1970.
    pub(super) now: u64,
    /// Tokens of the prompt, estimated.
    prompt: u64,
    /// Reservations and charges that were there before.
    held_before: usize,
    made_before: usize,
    /// Limits without room that refuse nothing.
    shadowed: u64,
    /// Identity of the target, once a rule has asked for it.
    target: Option<u64>,
}

impl<'c, 'q> Charging<'c, 'q> {
    pub(super) fn begin(charges: &'c mut Charges, request: &'q ChargedRequest<'q>, rules: usize) -> Self {
        charges.made.reserve(rules);
        let (held_before, made_before) = (charges.tokens.held(), charges.made.len());
        let (now, prompt) = (unix_seconds(), request.prompt_tokens());
        Self { charges, request, now, prompt, held_before, made_before, shadowed: 0, target: None }
    }

    /// The charge by a rule, and the response to expect; `None` where it cannot be counted by a limit that refuses nothing.
    pub(super) fn prepare<'r>(
        &mut self,
        rule: &'r LimitRule,
        descriptor: Descriptor,
        target: impl Fn() -> u64,
    ) -> Result<Option<(Charge, Option<ExpectedResponse>)>, NoCharge<'r>> {
        let target = if rule.reach == Reach::Policy { 0 } else { *self.target.get_or_insert_with(target) };
        let mut charge = self.request.charge(rule, descriptor, target);
        let Some(cost) = &rule.response_cost else { return Ok(Some((charge, None))) };
        match self.request.expect(rule, cost, self.prompt, &mut charge) {
            Ok(expected) => Ok(Some((charge, Some(expected)))),
            Err(_) if rule.is_shadow => Ok(None),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Notes the outcome of a charge. Gives back what is left.
    pub(super) fn take<'r>(
        &mut self,
        rule: &'r LimitRule,
        charge: Charge,
        expected: Option<ExpectedResponse>,
        admission: Admission,
    ) -> Result<Rate, NoCharge<'r>> {
        let (rate, begin, reservation, is_over) = match admission {
            Admission::Admitted { rate, begin, reservation, is_over } => (rate, begin, reservation, is_over),
            Admission::Refused(rate) => {
                self.refuse();
                return Err(NoCharge::Refused(rule, rate));
            }
        };
        self.shadowed += u64::from(is_over);
        if let (Some(reservation), Some(expected)) = (reservation, expected) {
            self.charges.tokens.push(self.prompt, expected.held(reservation));
        }
        // Nothing goes back of what cost nothing.
        if charge.cost > 0 {
            self.charges.made.push((begin, charge));
        }
        Ok(rate)
    }

    pub(super) fn fail<'r>(&mut self, error: Error) -> NoCharge<'r> {
        self.refuse();
        NoCharge::Uncounted(error)
    }

    /// Takes back all that the request was charged, by earlier limits too, and the room that it holds by these.
    fn refuse(&mut self) {
        self.count_shadowed();
        self.charges.tokens.truncate(self.held_before);
        self.charges.refund(&self.request.context.limits);
    }

    /// Takes back what these limits have charged, as if they had not been asked.
    pub(super) fn undo(self) {
        self.charges.tokens.truncate(self.held_before);
        self.charges.refund_from(self.made_before, &self.request.context.limits);
    }

    pub(super) fn finish(self) {
        self.count_shadowed();
        self.charges.tokens.cover();
    }

    fn count_shadowed(&self) {
        if self.shadowed > 0 {
            self.request.context.metrics.shadowed_limits.inc_by(self.shadowed);
        }
    }
}
