//! Times that engines take for requests: learnt from its answers, so that requests with objectives go where these are kept.
//!
//! Two times, each a sum of figures that a pick sees: to the first token (a constant, tokens that await prefill, requests in the queue, requests
//! that run) and for each further token (a constant, requests that run, the KV cache in use). Recursive least squares find what each figure
//! adds, with old answers fading, for each endpoint: engines of one pool may differ.

use std::time::Duration;

use parking_lot::Mutex;

/// Figures that a time is a sum of.
const FIGURES: usize = 4;
/// Share of an answer's weight that remains at the next one: of some 200 answers the last ones count.
const FADING: f64 = 0.995;
/// Uncertainty of a new model about what a figure adds, in square seconds; also its bound, as it grows while answers are all alike.
const UNCERTAINTY: f64 = 100.0;
/// Answers before a model says anything.
const LEAST_ANSWERS: u32 = 8;
/// An answer that took longer than so many times what was expected, beyond [`SLACK`], counts as if it had taken that: a stall says little of the next
/// request.
const MOST_SURPRISE: f64 = 4.0;
/// Seconds by which any answer may be late.
const SLACK: f64 = 0.1;
/// Tokens, and requests, of which a figure of 1 stands for so many: figures of like sizes are learnt alike well.
const TOKENS: f32 = 4096.0;
const REQUESTS: f32 = 16.0;

/// Figures of an endpoint that a pick saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LoadFigures {
    /// Tokens that the engine has to compute before the request's first one: its own and those of requests before it.
    pub(crate) prefill_tokens: f32,
    /// Requests in the engine's queue.
    pub(crate) waiting: f32,
    /// Requests that run.
    pub(crate) running: f32,
    /// Share of the KV cache in use.
    pub(crate) kv: f32,
}

impl LoadFigures {
    fn of_first_token(self) -> [f32; FIGURES] {
        [1.0, self.prefill_tokens / TOKENS, self.waiting / REQUESTS, self.running / REQUESTS]
    }

    fn of_further_token(self) -> [f32; FIGURES] {
        [1.0, self.running / REQUESTS, self.kv, 0.0]
    }
}

/// Times of an endpoint.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    first_token: Mutex<Model>,
    further_token: Mutex<Model>,
}

/// Times that are expected; `None` until enough answers have come.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Expected {
    /// Seconds to the first token.
    pub(crate) first_token: Option<f32>,
    /// Seconds for each further one.
    pub(crate) further_token: Option<f32>,
}

impl Latency {
    /// Learns from an answer's first token.
    pub(crate) fn learn_first_token(&self, seen: LoadFigures, took: Duration) {
        self.first_token.lock().learn(seen.of_first_token(), took);
    }

    /// Learns from the mean time of its further tokens.
    pub(crate) fn learn_further_token(&self, seen: LoadFigures, took: Duration) {
        self.further_token.lock().learn(seen.of_further_token(), took);
    }

    /// Times of a request for which a pick sees this.
    pub(crate) fn expect(&self, seen: LoadFigures) -> Expected {
        let first_token = self.first_token.lock().expect(seen.of_first_token());
        let further_token = self.further_token.lock().expect(seen.of_further_token());
        Expected { first_token, further_token }
    }
}

/// Recursive least squares. In doubles: with floats the covariance loses its shape after some thousand answers.
#[derive(Debug)]
struct Model {
    /// Seconds that each figure adds.
    weights: [f64; FIGURES],
    /// Uncertainty about them.
    covariance: [[f64; FIGURES]; FIGURES],
    answers: u32,
}

impl Default for Model {
    fn default() -> Self {
        let covariance = std::array::from_fn(|row| std::array::from_fn(|column| if row == column { UNCERTAINTY } else { 0.0 }));
        Self { weights: [0.0; FIGURES], covariance, answers: 0 }
    }
}

impl Model {
    fn expect(&self, figures: [f32; FIGURES]) -> Option<f32> {
        (self.answers >= LEAST_ANSWERS).then(|| dot(&self.weights, &figures.map(f64::from)).max(0.0) as f32)
    }

    fn learn(&mut self, figures: [f32; FIGURES], took: Duration) {
        let (figures, took) = (figures.map(f64::from), took.as_secs_f64());
        let expected = dot(&self.weights, &figures);
        let took = match self.answers >= LEAST_ANSWERS {
            true => took.min(expected.max(0.0) * MOST_SURPRISE + SLACK),
            false => took,
        };
        let spread: [f64; FIGURES] = std::array::from_fn(|row| dot(&self.covariance[row], &figures));
        let scale = FADING + dot(&spread, &figures);
        let gain = spread.map(|it| it / scale);
        for (weight, gain) in self.weights.iter_mut().zip(gain) {
            *weight += gain * (took - expected);
        }
        for (row, gain) in gain.iter().enumerate() {
            for (column, spread) in spread.iter().enumerate() {
                self.covariance[row][column] -= gain * spread;
            }
        }
        // Without a bound, what never varies would become ever less certain, until a single answer throws everything over.
        let widest = (0..FIGURES).map(|at| self.covariance[at][at]).fold(0.0, f64::max);
        if widest / FADING <= UNCERTAINTY {
            self.covariance.iter_mut().flatten().for_each(|it| *it /= FADING);
        }
        self.answers = self.answers.saturating_add(1);
        if !self.weights.iter().chain(self.covariance.iter().flatten()).all(|it| it.is_finite()) {
            *self = Self::default();
        }
    }
}

fn dot(one: &[f64; FIGURES], other: &[f64; FIGURES]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds to the first token at an engine that prefills 10,000 tokens/s, and slows down as more requests run.
    fn engine(seen: LoadFigures) -> f32 {
        0.02 + seen.prefill_tokens / 10_000.0 + 0.002 * seen.running + 0.05 * seen.waiting
    }

    fn random(random: &mut fastrand::Rng) -> LoadFigures {
        let mut upto = |most: f32| random.f32() * most;
        LoadFigures { prefill_tokens: upto(20_000.0), waiting: upto(4.0), running: upto(64.0), kv: upto(1.0) }
    }

    fn taught(answers: usize, took: impl Fn(usize, LoadFigures) -> f32) -> Latency {
        let mut rng = fastrand::Rng::with_seed(7);
        let latency = Latency::default();
        for at in 0..answers {
            let seen = random(&mut rng);
            latency.learn_first_token(seen, Duration::from_secs_f32(took(at, seen)));
        }
        latency
    }

    /// Mean error, as a share of the mean time.
    fn error(latency: &Latency, took: impl Fn(LoadFigures) -> f32) -> f32 {
        let mut rng = fastrand::Rng::with_seed(8);
        let all: Vec<_> = (0..100).map(|_| random(&mut rng)).collect();
        let errors: f32 = all.iter().map(|seen| (latency.expect(*seen).first_token.unwrap() - took(*seen)).abs()).sum();
        errors / all.iter().map(|seen| took(*seen)).sum::<f32>()
    }

    #[test]
    fn an_engines_times_are_learnt_from_its_answers() {
        assert_eq!(taught(7, |_, seen| engine(seen)).expect(LoadFigures::default()), Expected::default());
        let found = error(&taught(200, |_, seen| engine(seen)), engine);
        assert!(found < 0.02, "{found}");
    }

    #[test]
    fn a_stall_now_and_then_spoils_little() {
        let stalls = |at: usize, seen: LoadFigures| if at % 20 == 19 { 60.0 } else { engine(seen) };
        let found = error(&taught(400, stalls), engine);
        assert!(found < 0.3, "{found}");
    }

    #[test]
    fn an_engine_that_changes_is_learnt_anew() {
        let changes = |at: usize, seen: LoadFigures| if at < 500 { engine(seen) } else { 3.0 * engine(seen) };
        let found = error(&taught(2_000, changes), |seen| 3.0 * engine(seen));
        assert!(found < 0.1, "{found}");
    }

    #[test]
    fn answers_that_are_all_alike_do_not_unsettle_the_model() {
        let latency = Latency::default();
        let seen = LoadFigures { prefill_tokens: 1_000.0, ..LoadFigures::default() };
        for _ in 0..100_000 {
            latency.learn_first_token(seen, Duration::from_millis(120));
        }
        let other = LoadFigures { running: 1.0, ..seen };
        latency.learn_first_token(other, Duration::from_millis(130));
        let expected = latency.expect(seen).first_token.unwrap();
        assert!((expected - 0.12).abs() < 0.005, "{expected}");
    }
}
