//! Outcomes of requests, and their figures.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;

use super::workload::Run;

/// One request's end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) stage: usize,
    pub(super) priority: i32,
    pub(super) started: Duration,
    /// When the client had the first token.
    pub(super) first: Option<Duration>,
    pub(super) ended: Duration,
    pub(super) failed: bool,
    /// Tokens of its prompt and output.
    pub(super) prompt: u32,
    pub(super) output: u32,
    /// Tokens of the prompt that were cached.
    pub(super) hit: u32,
    /// Tokens computed although another replica had them.
    pub(super) elsewhere: u32,
    /// Tokens computed that some replica had computed before.
    pub(super) twice: u32,
}

/// Everything a run leaves.
#[derive(Debug, PartialEq)]
pub(super) struct RunResult {
    pub(super) outcomes: Vec<Outcome>,
    /// Largest number of requests at a replica over the mean, by time.
    pub(super) imbalance: Vec<(Duration, f64)>,
    /// KV blocks still in use when all requests had ended.
    pub(super) held_blocks: u32,
}

/// Times that a request is to keep.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Objective {
    /// Seconds to the first token.
    pub(super) ttft: f64,
    /// Seconds of each further token, on average.
    pub(super) tpot: f64,
}

/// Figures of the requests of a run, or of one of its stages. Times are in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct PickerFigures {
    pub(super) requests: usize,
    pub(super) failed: usize,
    pub(super) ttft_mean: f64,
    pub(super) ttft_p50: f64,
    pub(super) ttft_p90: f64,
    pub(super) ttft_p99: f64,
    pub(super) tpot_mean: f64,
    /// Tokens generated, from the first arrival to the last end.
    pub(super) tokens_per_second: f64,
    /// Share of prompts' tokens that was cached.
    pub(super) hit_share: f64,
    /// Share of prompts' tokens computed that another replica had cached.
    pub(super) elsewhere_share: f64,
    /// Tokens of prompts computed that some replica had computed before.
    pub(super) tokens_twice: u64,
    /// Largest number of requests at a replica over the mean.
    pub(super) imbalance: f64,
    /// Share of requests that kept the objective.
    pub(super) goodput: f64,
}

impl RunResult {
    /// Figures of all stages that count.
    pub(super) fn whole(&self, run: &Run, objective: Objective) -> PickerFigures {
        self.figures(objective, |outcome| outcome.stage >= run.first_stage)
    }

    /// Figures of one stage.
    pub(super) fn stage(&self, stage: usize, objective: Objective) -> PickerFigures {
        self.figures(objective, |outcome| outcome.stage == stage)
    }

    /// Figures of one stage's requests of one priority.
    pub(super) fn of_priority(&self, priority: i32, stage: usize, objective: Objective) -> PickerFigures {
        self.figures(objective, |outcome| outcome.stage == stage && outcome.priority == priority)
    }

    /// Priorities of its requests, the highest first.
    pub(super) fn priorities(&self) -> Vec<i32> {
        let priorities: BTreeSet<_> = self.outcomes.iter().map(|outcome| outcome.priority).collect();
        priorities.into_iter().rev().collect()
    }

    fn figures(&self, objective: Objective, counts: impl Fn(&Outcome) -> bool) -> PickerFigures {
        let outcomes: Vec<_> = self.outcomes.iter().filter(|outcome| counts(outcome)).collect();
        let mut ttft: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.ttft()).collect();
        ttft.sort_unstable_by(f64::total_cmp);
        let tpot: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.tpot()).collect();
        let sum = |figure: fn(&Outcome) -> u32| outcomes.iter().map(|outcome| u64::from(figure(outcome))).sum::<u64>();
        let began = outcomes.iter().map(|outcome| outcome.started).min().unwrap_or_default();
        let last_start = outcomes.iter().map(|outcome| outcome.started).max().unwrap_or_default();
        let ended = outcomes.iter().map(|outcome| outcome.ended).max().unwrap_or_default();
        let generated: u64 = outcomes.iter().filter(|outcome| !outcome.failed).map(|outcome| u64::from(outcome.output)).sum();
        let prompts = sum(|outcome| outcome.prompt);
        let hits = sum(|outcome| outcome.hit);
        let imbalance = self.imbalance.iter().filter(|(at, _)| (began..=last_start).contains(at)).map(|(_, figure)| *figure);
        PickerFigures {
            requests: outcomes.len(),
            failed: outcomes.iter().filter(|outcome| outcome.failed).count(),
            ttft_mean: mean(ttft.iter().copied()),
            ttft_p50: at(&ttft, 0.5),
            ttft_p90: at(&ttft, 0.9),
            ttft_p99: at(&ttft, 0.99),
            tpot_mean: mean(tpot.iter().copied()),
            tokens_per_second: ratio(generated as f64, ended.saturating_sub(began).as_secs_f64()),
            hit_share: ratio(hits as f64, prompts as f64),
            elsewhere_share: ratio(sum(|outcome| outcome.elsewhere) as f64, (prompts - hits) as f64),
            tokens_twice: sum(|outcome| outcome.twice),
            imbalance: mean(imbalance),
            goodput: ratio(outcomes.iter().filter(|outcome| outcome.keeps(objective)).count() as f64, outcomes.len() as f64),
        }
    }
}

impl Outcome {
    fn ttft(&self) -> Option<f64> {
        let first = self.first.filter(|_| !self.failed)?;
        Some(first.saturating_sub(self.started).as_secs_f64())
    }

    /// `None` where there was but one token.
    fn tpot(&self) -> Option<f64> {
        let first = self.first.filter(|_| !self.failed && self.output > 1)?;
        Some(self.ended.saturating_sub(first).as_secs_f64() / f64::from(self.output - 1))
    }

    fn keeps(&self, objective: Objective) -> bool {
        self.ttft().is_some_and(|ttft| ttft <= objective.ttft) && self.tpot().is_none_or(|tpot| tpot <= objective.tpot)
    }
}

fn mean(figures: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = figures.fold((0.0, 0.0), |(sum, count), figure| (sum + figure, count + 1.0));
    ratio(sum, count)
}

fn ratio(one: f64, other: f64) -> f64 {
    if other > 0.0 { one / other } else { 0.0 }
}

/// The figure below which a share of the sorted figures lies.
fn at(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * share).round() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_requests_that_count() {
        let outcome = |started, first, ended| Outcome {
            started: Duration::from_secs(started),
            first: Some(Duration::from_secs(first)),
            ended: Duration::from_secs(ended),
            prompt: 100,
            output: 11,
            hit: 40,
            elsewhere: 30,
            twice: 16,
            ..Outcome::default()
        };
        let failed = Outcome { failed: true, prompt: 100, ..Outcome::default() };
        let outcomes = vec![outcome(0, 1, 11), outcome(2, 5, 7), failed];
        let result = RunResult { outcomes, imbalance: vec![(Duration::from_secs(1), 1.5)], held_blocks: 0 };
        let figures = result.whole(&Run::default(), Objective { ttft: 2.0, tpot: 1.0 });
        assert_eq!((figures.requests, figures.failed, figures.tokens_twice), (3, 1, 32));
        assert_eq!((figures.ttft_mean, figures.ttft_p90, figures.tpot_mean), (2.0, 3.0, 0.6));
        assert_eq!((figures.tokens_per_second, figures.imbalance), (2.0, 1.5));
        assert!((figures.goodput - 1.0 / 3.0).abs() < 1e-9 && (figures.elsewhere_share - 60.0 / 220.0).abs() < 1e-9);
    }
}
