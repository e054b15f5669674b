//! Pauses after failures in a row.

use std::time::{Duration, Instant};

/// Failures in a row after which nothing is asked for a while.
const MAX_FAILURES: u32 = 3;
/// The first pause, and the longest one, after doubling.
const SHORTEST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// Whether questions are asked.
#[derive(Debug, Default)]
pub(super) struct StandBack {
    failures: u32,
    backoff: Duration,
    until: Option<Instant>,
}

/// A question that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// One of many.
    Usual,
    /// The first after a pause: no other is asked until it has ended or the pause is over again.
    Probe,
}

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QuestionEnd {
    Success,
    Failure,
    /// The end says nothing of other questions: the engine refused this one, or answered late.
    Neutral,
}

impl StandBack {
    /// Begins a question; `None` in a pause.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Question> {
        match self.until {
            Some(until) if now < until => None,
            Some(_) => {
                self.until = Some(now + self.backoff);
                Some(Question::Probe)
            }
            None => Some(Question::Usual),
        }
    }

    /// A question has ended.
    pub(super) fn end(&mut self, question: Question, end: QuestionEnd, now: Instant) {
        match end {
            QuestionEnd::Success => *self = Self::default(),
            // Those that were under way as the pause began say nothing of the engines since.
            QuestionEnd::Failure if question == Question::Usual && self.until.is_some() => {}
            QuestionEnd::Failure => self.fail(now),
            // The next question is a probe, too, and need not wait.
            QuestionEnd::Neutral if question == Question::Probe && self.until.is_some() => self.until = Some(now),
            QuestionEnd::Neutral => {}
        }
    }

    fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= MAX_FAILURES {
            self.backoff = (self.backoff * 2).clamp(SHORTEST_BACKOFF, LONGEST_BACKOFF);
            self.until = Some(now + self.backoff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_end_questions_for_longer_and_longer() {
        let (mut state, start) = (StandBack::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        state.fail(at(0));
        state.fail(at(0));
        assert_eq!(state.begin(at(0)), Some(Question::Usual));
        state.fail(at(0));
        assert_eq!(state.begin(at(0)), None);
        assert_eq!((state.begin(at(1)), state.begin(at(1))), (Some(Question::Probe), None), "one question after the pause");
        state.fail(at(1));
        assert_eq!((state.begin(at(2)), state.begin(at(3))), (None, Some(Question::Probe)));
        (0..20).for_each(|_| state.fail(at(3)));
        assert_eq!((state.begin(at(32)), state.begin(at(33))), (None, Some(Question::Probe)));
        state.end(Question::Probe, QuestionEnd::Success, at(33));
        assert_eq!([state.begin(at(33)); 2], [Some(Question::Usual); 2]);
    }

    #[test]
    fn an_end_that_says_nothing_ends_a_probe_and_neither_pauses_nor_resumes() {
        let (mut state, now) = (StandBack::default(), Instant::now());
        let later = now + SHORTEST_BACKOFF;
        (0..10).for_each(|_| state.end(Question::Usual, QuestionEnd::Neutral, now));
        assert_eq!(state.begin(now), Some(Question::Usual));
        (0..MAX_FAILURES).for_each(|_| state.end(Question::Usual, QuestionEnd::Failure, now));
        (0..MAX_FAILURES).for_each(|_| state.end(Question::Usual, QuestionEnd::Failure, now));
        state.end(Question::Usual, QuestionEnd::Neutral, now);
        assert_eq!(state.begin(now), None, "those from before the pause");
        assert_eq!((state.begin(later), state.begin(later)), (Some(Question::Probe), None));
        state.end(Question::Probe, QuestionEnd::Neutral, later);
        assert_eq!((state.begin(later), state.begin(later)), (Some(Question::Probe), None));
    }
}
