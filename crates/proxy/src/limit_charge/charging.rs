//! Charges of one request, one limit after the other.

use std::vec;

use pailou_limits::{Admission, Charge, Descriptor, LimitRule, Rate, Reach};
use pailou_store::Undecided;

use super::{ChargedRequest, Charges, ExpectedResponse, Halt, NoCharge};
use crate::{
    error::{Error, Flag},
    shared_limits,
    wall_clock::unix_seconds,
};

/// A request on its way through limits.
pub(super) struct Charging<'c, 'q, 'r, T> {
    charges: &'c mut Charges,
    request: &'q ChargedRequest<'q>,
    /// Limits that follow, with the request's values.
    rest: vec::IntoIter<(&'r LimitRule, Descriptor)>,
    /// All limits, with those that are done.
    all: usize,
    /// Seconds since 1970.
    now: u64,
    /// Tokens of the prompt, estimated.
    prompt: u64,
    /// Reservations that were there before.
    held_before: usize,
    /// Limits without room that refuse nothing.
    shadowed: u64,
    /// The identity of the targets that share a counter, and what it is, once a rule has asked for it.
    target: (T, Option<u64>),
}

/// Limit that a store has a say in, and that the request waits for.
pub(super) struct Waiting<'r> {
    rule: &'r LimitRule,
    charge: Charge,
    expected: Option<ExpectedResponse>,
    undecided: Undecided,
}

impl<'c, 'q, 'r, T: Fn() -> u64> Charging<'c, 'q, 'r, T> {
    pub(super) fn begin(
        charges: &'c mut Charges,
        request: &'q ChargedRequest<'q>,
        selected: Vec<(&'r LimitRule, Descriptor)>,
        target: T,
    ) -> Self {
        charges.made.reserve(selected.len());
        let (held_before, all) = (charges.tokens.held(), selected.len());
        let (now, prompt) = (unix_seconds(), request.prompt_tokens());
        Self { charges, request, rest: selected.into_iter(), all, now, prompt, held_before, shadowed: 0, target: (target, None) }
    }

    /// Charges the limits that follow, up to the first that a store has a say in.
    pub(super) fn advance(&mut self, note: &mut impl FnMut(&'r LimitRule, Rate)) -> Result<Option<Waiting<'r>>, NoCharge<'r>> {
        while let Some((rule, descriptor)) = self.rest.next() {
            let Some((charge, expected)) = self.prepare(rule, descriptor)? else { continue };
            match self.request.context.shared_limits.admit_now(self.now, &charge) {
                Ok(admission) => note(rule, self.take(rule, charge, expected, admission)?),
                Err(undecided) => return Ok(Some(Waiting { rule, charge, expected, undecided })),
            }
        }
        self.count_shadowed();
        self.charges.tokens.cover();
        Ok(None)
    }

    /// Charges the limit whose store has a say, once that has answered.
    pub(super) async fn wait(&mut self, waiting: Waiting<'r>) -> Result<(&'r LimitRule, Rate), NoCharge<'r>> {
        let Waiting { rule, charge, expected, undecided } = waiting;
        let admission = shared_limits::wait(self.request.context, self.now, &charge, undecided, self.request.store_budget).await;
        let admission = admission.map_err(|error| self.fail(error))?;
        Ok((rule, self.take(rule, charge, expected, admission)?))
    }

    /// Ends here. The charges that were made stay, and another goes on by [`Self::resume`].
    pub(super) fn halt(self, waiting: Waiting<'r>) -> Halt {
        let Self { held_before, shadowed, .. } = self;
        Halt { place: self.all - self.rest.len() - 1, undecided: waiting.undecided, held_before, shadowed }
    }

    /// Goes on where another, of the same limits, has ended: its charges are made.
    pub(super) fn resume(&mut self, halt: Halt) -> Result<Option<Waiting<'r>>, NoCharge<'r>> {
        (self.held_before, self.shadowed) = (halt.held_before, halt.shadowed);
        // Both were given the same limits. If they were not, the request is not let past them.
        let Some((rule, descriptor)) = self.rest.nth(halt.place) else { return Err(self.fail(other_limits())) };
        let Some((charge, expected)) = self.prepare(rule, descriptor)? else { return Err(self.fail(other_limits())) };
        Ok(Some(Waiting { rule, charge, expected, undecided: halt.undecided }))
    }

    /// The charge by a rule, and the response to expect; `None` where it cannot be counted by a limit that refuses nothing.
    fn prepare(
        &mut self,
        rule: &'r LimitRule,
        descriptor: Descriptor,
    ) -> Result<Option<(Charge, Option<ExpectedResponse>)>, NoCharge<'r>> {
        let (target, known) = &mut self.target;
        let target = if rule.reach == Reach::Policy { 0 } else { *known.get_or_insert_with(target) };
        let mut charge = self.request.charge(rule, descriptor, target);
        let Some(cost) = &rule.response_cost else { return Ok(Some((charge, None))) };
        match self.request.expect(rule, cost, self.prompt, &mut charge) {
            Ok(expected) => Ok(Some((charge, Some(expected)))),
            Err(_) if rule.is_shadow => Ok(None),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Notes the outcome of a charge. Gives back what is left.
    fn take(
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

    fn fail(&mut self, error: Error) -> NoCharge<'r> {
        self.refuse();
        NoCharge::Uncounted(error)
    }

    /// Takes back all that the request was charged, by earlier limits too, and the room that it holds by these.
    fn refuse(&mut self) {
        self.count_shadowed();
        self.charges.tokens.truncate(self.held_before);
        self.charges.refund(&self.request.context.limits);
    }

    fn count_shadowed(&self) {
        if self.shadowed > 0 {
            self.request.context.metrics.shadowed_limits.inc_by(self.shadowed);
        }
    }
}

fn other_limits() -> Error {
    Error::new(Flag::Misconfigured, "a limit of this request cannot be counted").with_detail("its limits changed while it waited")
}
