//! Rounds put together: for each workload and subject, medians and what they are in comparison.

use serde::Serialize;

use crate::{
    stats::Spread,
    turn::{Phase, Sample, Usage},
    workload::Workload,
};

/// The subject others are compared with.
const REFERENCE: &str = "haproxy";
/// The subject whose latency is no gateway's.
pub(crate) const DIRECT: &str = "direct";

/// A subject's figures under a workload.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) workload: Workload,
    pub(crate) subject: String,
    /// Microseconds of processor time for each request, or each chunk of a stream, at the paced rate.
    pub(crate) cpu_us: Option<Spread>,
    /// That figure divided by haproxy's of the same round.
    pub(crate) cpu_ratio: Option<Spread>,
    /// As `cpu_us`, as fast as the connections go.
    pub(crate) full_cpu_us: Option<Spread>,
    /// As `cpu_ratio`, as fast as the connections go.
    pub(crate) full_cpu_ratio: Option<Spread>,
    /// Requests in a second as fast as the connections go, or chunks where answers are streams.
    pub(crate) per_second: Option<Spread>,
    /// Microseconds in which half the requests were answered, to the first chunk of a stream, at the paced rate.
    pub(crate) p50_us: Option<Spread>,
    /// Microseconds that half the requests take more than without a gateway, by the medians of the same round.
    pub(crate) added_p50_us: Option<Spread>,
    /// The same for the slowest hundredth.
    pub(crate) added_p99_us: Option<Spread>,
    /// Bytes in memory.
    pub(crate) resident: Option<Spread>,
    /// The largest share of the gateway's core that others took in a round.
    pub(crate) others: Option<f64>,
    pub(crate) errors: u64,
}

impl Summary {
    /// Summaries of all subjects under all workloads, in the order they were measured in.
    pub(crate) fn all(samples: &[Sample]) -> Vec<Self> {
        let mut keys: Vec<(Workload, &str)> = Vec::new();
        for sample in samples {
            if !keys.contains(&(sample.workload, &sample.subject)) {
                keys.push((sample.workload, &sample.subject));
            }
        }
        keys.into_iter().map(|(workload, subject)| Self::of(samples, workload, subject)).collect()
    }

    fn of(samples: &[Sample], workload: Workload, subject: &str) -> Self {
        let own: Vec<&Sample> = samples.iter().filter(|sample| sample.workload == workload && sample.subject == subject).collect();
        let in_phase = |phase| own.iter().copied().filter(move |sample| sample.phase == phase);
        let busiest = if workload.streams() { Phase::Paced } else { Phase::Full };
        let usage =
            |phase, figure: fn(&Usage) -> f64| Spread::of(in_phase(phase).filter_map(|sample| sample.gateway.as_ref()).map(figure));
        let beside = |phase, other: &'static str, figure: &dyn Fn(&Sample, &Sample) -> Option<f64>| {
            Spread::of(in_phase(phase).filter_map(|sample| figure(sample, same_round(samples, sample, other)?)))
        };
        Self {
            workload,
            subject: subject.to_owned(),
            cpu_us: usage(Phase::Paced, |usage| usage.cpu_us),
            cpu_ratio: beside(Phase::Paced, REFERENCE, &cpu_ratio),
            full_cpu_us: usage(Phase::Full, |usage| usage.cpu_us),
            full_cpu_ratio: beside(Phase::Full, REFERENCE, &cpu_ratio),
            per_second: Spread::of(in_phase(busiest).map(|sample| {
                let units = if workload.streams() { sample.chunks } else { sample.requests };
                units as f64 / sample.seconds
            })),
            p50_us: Spread::of(in_phase(Phase::Paced).map(|sample| sample.p50_us)),
            added_p50_us: beside(Phase::Paced, DIRECT, &|sample, direct| Some(sample.p50_us - direct.p50_us)),
            added_p99_us: beside(Phase::Paced, DIRECT, &|sample, direct| Some(sample.p99_us - direct.p99_us)),
            resident: usage(busiest, |usage| usage.resident as f64),
            others: own.iter().filter_map(|sample| sample.gateway.as_ref()).map(|usage| usage.others).reduce(f64::max),
            errors: own.iter().map(|sample| sample.errors).sum(),
        }
    }
}

fn cpu_ratio(sample: &Sample, reference: &Sample) -> Option<f64> {
    Some(sample.gateway.as_ref()?.cpu_us / reference.gateway.as_ref()?.cpu_us)
}

fn same_round<'a>(samples: &'a [Sample], sample: &Sample, subject: &str) -> Option<&'a Sample> {
    samples.iter().find(|other| {
        other.subject == subject && other.workload == sample.workload && other.round == sample.round && other.phase == sample.phase
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(subject: &str, round: u32, cpu_us: Option<f64>, p50_us: f64) -> Sample {
        Sample {
            workload: Workload::Small,
            subject: subject.into(),
            round,
            phase: Phase::Paced,
            seconds: 1.0,
            requests: 10,
            chunks: 0,
            errors: 1,
            first_error: None,
            p50_us,
            p99_us: p50_us,
            gateway: cpu_us.map(|cpu_us| Usage { cpu_us, busy: 0.5, others: 0.0, resident: 0 }),
        }
    }

    #[test]
    fn ratios_and_added_latencies_are_within_a_round() {
        let samples = [
            sample("direct", 0, None, 10.0),
            sample("haproxy", 0, Some(10.0), 30.0),
            sample("pailou", 0, Some(15.0), 40.0),
            sample("direct", 1, None, 20.0),
            sample("haproxy", 1, Some(20.0), 40.0),
            sample("pailou", 1, Some(30.0), 50.0),
        ];
        let summaries = Summary::all(&samples);
        assert_eq!(summaries.iter().map(|summary| &*summary.subject).collect::<Vec<_>>(), ["direct", "haproxy", "pailou"]);
        assert_eq!(summaries[2].cpu_ratio, Some(Spread { median: 1.5, low: 1.5, high: 1.5 }));
        assert_eq!(summaries[2].added_p50_us, Some(Spread { median: 30.0, low: 30.0, high: 30.0 }));
        assert_eq!(summaries[0].cpu_ratio, None);
        assert_eq!(summaries[1].errors, 2);
    }
}
