//! Engines whose answers come, and always too late.

/// Late answers in a row after which requests wait for none.
const MAX_LATE: u32 = 8;

/// Late answers since the last that was in time. Questions are asked meanwhile, for requests to come: their answers show when engines are
/// faster again.
#[derive(Debug, Default)]
pub(super) struct Lateness(u32);

impl Lateness {
    /// An engine has answered.
    pub(super) fn answered(&mut self, is_late: bool) {
        self.0 = if is_late { self.0.saturating_add(1) } else { 0 };
    }

    /// Whether a request would wait in vain.
    pub(super) fn is_usual(&self) -> bool {
        self.0 >= MAX_LATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_answers_in_a_row_are_usual_until_one_is_in_time() {
        let mut lateness = Lateness::default();
        (1..MAX_LATE).for_each(|_| lateness.answered(true));
        assert!(!lateness.is_usual());
        lateness.answered(true);
        assert!(lateness.is_usual());
        lateness.answered(false);
        assert!(!lateness.is_usual());
    }
}
