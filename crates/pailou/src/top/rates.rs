//! Rates: the difference of two samples.

use std::collections::HashMap;

use crate::overview::{Histogram, ModelRow, Overview, PoolRow, TokenCounts};

/// Counts of two samples of one process, and the time between them.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    /// Seconds; `None` without a sample before.
    seconds: Option<f64>,
    pub(super) requests: Option<f64>,
    /// By whose doing they are.
    pub(super) errors: HashMap<String, f64>,
    pub(super) input_tokens: Option<f64>,
    pub(super) output_tokens: Option<f64>,
    /// Durations of the time between.
    pub(super) ttft: Histogram,
    pub(super) duration: Histogram,
    pub(super) per_token: Histogram,
    /// Requests by endpoint's address, within its pool's name.
    endpoints: HashMap<(String, String), f64>,
    models: HashMap<(String, String), f64>,
}

impl Rates {
    /// The rates of the time between two samples. Samples of two processes have none.
    pub(super) fn between(before: &Overview, now: &Overview) -> Self {
        let seconds = now.uptime_seconds - before.uptime_seconds;
        if seconds <= 0.0 || before.name != now.name || before.series != now.series {
            return Self::default();
        }
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        let (old, new) = (before.requests.clone().unwrap_or_default(), now.requests.clone().unwrap_or_default());
        let errors =
            new.by_fault.iter().map(|(fault, count)| (fault.clone(), rate(old.by_fault.get(fault).copied().unwrap_or(0), *count)));
        let tokens =
            |read: fn(&TokenCounts) -> u64| Some(rate(before.tokens.as_ref().map_or(0, read), now.tokens.as_ref().map(read)?));
        let latency = |read: fn(&crate::overview::Latencies) -> &Histogram| {
            difference(before.latency.as_ref().map(read), now.latency.as_ref().map(read))
        };
        let endpoints_before = counts(before.pools.as_deref(), endpoint_counts);
        let endpoints = counts(now.pools.as_deref(), endpoint_counts);
        let models_before = counts(before.models.as_deref(), model_count);
        let models = counts(now.models.as_deref(), model_count);
        let rated = |now: HashMap<(String, String), u64>, before: &HashMap<(String, String), u64>| {
            let rated = now.into_iter().map(|(key, count)| {
                let before = before.get(&key).copied().unwrap_or(0);
                (key, rate(before, count))
            });
            rated.collect()
        };
        Self {
            seconds: Some(seconds),
            requests: now.requests.is_some().then(|| rate(old.total, new.total)),
            errors: errors.collect(),
            input_tokens: tokens(|tokens| tokens.input),
            output_tokens: tokens(|tokens| tokens.output),
            ttft: latency(|all| &all.ttft),
            duration: latency(|all| &all.duration),
            per_token: latency(|all| &all.time_per_output_token),
            endpoints: rated(endpoints, &endpoints_before),
            models: rated(models, &models_before),
        }
    }

    /// Requests a second at an endpoint.
    pub(super) fn endpoint(&self, pool: &str, address: &str) -> Option<f64> {
        self.seconds?;
        self.endpoints.get(&(pool.to_owned(), address.to_owned())).copied()
    }

    /// Requests a second of a pool.
    pub(super) fn pool(&self, pool: &str) -> f64 {
        self.endpoints.iter().filter(|((name, _), _)| name == pool).map(|(_, rate)| rate).sum()
    }

    /// Requests a second for a model.
    pub(super) fn model(&self, model: &ModelRow) -> Option<f64> {
        self.seconds?;
        self.models.get(&(model.model.clone(), model.sent.clone())).copied()
    }
}

fn counts<T>(rows: Option<&[T]>, read: impl Fn(&T) -> Vec<((String, String), u64)>) -> HashMap<(String, String), u64> {
    let mut counts = HashMap::new();
    for (key, count) in rows.unwrap_or_default().iter().flat_map(read) {
        *counts.entry(key).or_default() += count;
    }
    counts
}

fn endpoint_counts(pool: &PoolRow) -> Vec<((String, String), u64)> {
    pool.endpoints.iter().map(|endpoint| ((pool.name.clone(), endpoint.address.clone()), endpoint.requests)).collect()
}

fn model_count(model: &ModelRow) -> Vec<((String, String), u64)> {
    vec![((model.model.clone(), model.sent.clone()), model.requests)]
}

/// Values of the time between.
fn difference(before: Option<&Histogram>, now: Option<&Histogram>) -> Histogram {
    let Some(now) = now else { return Histogram::default() };
    let nothing = Histogram::default();
    let before = before.unwrap_or(&nothing);
    let counts = now.counts.iter().enumerate().map(|(at, count)| count.saturating_sub(before.counts.get(at).copied().unwrap_or(0)));
    Histogram {
        bounds: now.bounds.clone(),
        counts: counts.collect(),
        sum: (now.sum - before.sum).max(0.0),
        count: now.count.saturating_sub(before.count),
    }
}

/// The value that so large a share is not above, 0 to 1, as Prometheus' `histogram_quantile` has it. `None` without values.
pub(super) fn quantile(histogram: &Histogram, share: f64) -> Option<f64> {
    let total = *histogram.counts.last().filter(|total| **total > 0)?;
    let rank = share * total as f64;
    let at = histogram.counts.iter().position(|count| *count as f64 >= rank && *count > 0)?;
    let Some(upper) = histogram.bounds.get(at) else { return histogram.bounds.last().copied() };
    let (lower, below) = match at {
        0 => (0.0, 0),
        _ => (histogram.bounds[at - 1], histogram.counts[at - 1]),
    };
    let within = (histogram.counts[at] - below) as f64;
    Some(lower + (upper - lower) * (rank - below as f64) / within.max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::overview::RequestCounts;

    fn sample(uptime: f64, total: u64) -> Overview {
        let requests = RequestCounts { total, ..RequestCounts::default() };
        Overview { name: "a".to_owned(), uptime_seconds: uptime, requests: Some(requests), ..Overview::default() }
    }

    #[test]
    fn a_rate_is_of_one_process() {
        let rate = |before: &Overview, now: &Overview| Rates::between(before, now).requests;
        assert_eq!(rate(&sample(10.0, 5), &sample(12.0, 25)), Some(10.0));
        assert_eq!(rate(&sample(10.0, 5), &sample(1.0, 25)), None, "it has started again");
        assert_eq!(rate(&sample(10.0, 25), &sample(12.0, 5)), Some(0.0), "series made room");
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let histogram =
            |counts: [u64; 3]| Histogram { bounds: vec![1.0, 2.0], counts: counts.to_vec(), sum: 0.0, count: counts[2] };
        assert_eq!(quantile(&histogram([0, 4, 4]), 0.5), Some(1.5));
        assert_eq!(quantile(&histogram([4, 4, 4]), 0.5), Some(0.5));
        assert_eq!(quantile(&histogram([0, 0, 4]), 0.5), Some(2.0));
        assert_eq!(quantile(&histogram([0, 0, 0]), 0.5), None);
        assert_eq!(quantile(&Histogram::default(), 0.5), None);
    }
}
