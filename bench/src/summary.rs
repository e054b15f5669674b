//! Rounds put together: for each workload and subject, medians and what they are in comparison.

mod cluster;
mod footprint;
#[cfg(test)]
mod tests;

use serde::Serialize;

pub(crate) use self::{
    cluster::{ClusterSummary, PartSummary},
    footprint::FootprintSummary,
};
use crate::{
    stats::Spread,
    turn::{Phase, Sample, Usage},
    workload::Workload,
};

/// The subject others are compared with.
pub(crate) const REFERENCE: &str = "haproxy";
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
    /// That figure divided by its own under the comparison workload, in the same round.
    pub(crate) own_ratio: Option<Spread>,
    /// As `cpu_us`, as fast as the connections go.
    pub(crate) full_cpu_us: Option<Spread>,
    /// As `cpu_ratio`, as fast as the connections go.
    pub(crate) full_cpu_ratio: Option<Spread>,
    /// As `own_ratio`, as fast as the connections go.
    pub(crate) full_own_ratio: Option<Spread>,
    /// Requests in a second as fast as the connections go, or chunks where answers are streams.
    pub(crate) per_second: Option<Spread>,
    /// Those divided by the gateway's own under the workload that this one is compared with.
    pub(crate) own_per_second: Option<Spread>,
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
    /// Summaries of all subjects under all workloads, in the order of workloads and of turns.
    pub(crate) fn all(samples: &[Sample]) -> Vec<Self> {
        let keys = keys(samples.iter().map(|sample| (sample.workload, &*sample.subject)));
        keys.into_iter().map(|(workload, subject)| Self::of(samples, workload, subject)).collect()
    }

    fn of(samples: &[Sample], workload: Workload, subject: &str) -> Self {
        let own: Vec<&Sample> = samples.iter().filter(|sample| sample.workload == workload && sample.subject == subject).collect();
        let in_phase = |phase| own.iter().copied().filter(move |sample| sample.phase == phase);
        let busiest = if workload.streams() { Phase::Paced } else { Phase::Full };
        let usage =
            |phase, figure: fn(&Usage) -> f64| Spread::of(in_phase(phase).filter_map(|sample| sample.gateway.as_ref()).map(figure));
        let beside = |phase, workload, other: &str, figure: &dyn Fn(&Sample, &Sample) -> Option<f64>| {
            let workload = workload?;
            Spread::of(in_phase(phase).filter_map(|sample| figure(sample, same_round(samples, sample, workload, other)?)))
        };
        let (here, base) = (Some(workload), workload.base());
        let rate = |sample: &Sample| if workload.streams() { sample.chunks } else { sample.requests } as f64 / sample.seconds;
        Self {
            workload,
            subject: subject.to_owned(),
            cpu_us: usage(Phase::Paced, |usage| usage.cpu_us),
            cpu_ratio: beside(Phase::Paced, here, REFERENCE, &cpu_ratio),
            own_ratio: beside(Phase::Paced, base, subject, &cpu_ratio),
            full_cpu_us: usage(Phase::Full, |usage| usage.cpu_us),
            full_cpu_ratio: beside(Phase::Full, here, REFERENCE, &cpu_ratio),
            full_own_ratio: beside(Phase::Full, base, subject, &cpu_ratio),
            per_second: Spread::of(in_phase(busiest).map(rate)),
            own_per_second: beside(busiest, base, subject, &|sample, base| Some(rate(sample) / rate(base))),
            p50_us: Spread::of(in_phase(Phase::Paced).map(|sample| sample.p50_us)),
            added_p50_us: beside(Phase::Paced, here, DIRECT, &|sample, direct| Some(sample.p50_us - direct.p50_us)),
            added_p99_us: beside(Phase::Paced, here, DIRECT, &|sample, direct| Some(sample.p99_us - direct.p99_us)),
            resident: usage(busiest, |usage| usage.resident as f64),
            others: own.iter().filter_map(|sample| sample.gateway?.others).reduce(f64::max),
            errors: own.iter().map(|sample| sample.errors).sum(),
        }
    }
}

/// Each pair once, in the order of workloads and then of first appearance.
fn keys<'a>(pairs: impl Iterator<Item = (Workload, &'a str)>) -> Vec<(Workload, &'a str)> {
    let mut keys = Vec::new();
    for pair in pairs {
        if !keys.contains(&pair) {
            keys.push(pair);
        }
    }
    keys.sort_by_key(|(workload, _)| *workload as usize);
    keys
}

fn cpu_ratio(sample: &Sample, reference: &Sample) -> Option<f64> {
    Some(sample.gateway.as_ref()?.cpu_us / reference.gateway.as_ref()?.cpu_us)
}

fn same_round<'a>(samples: &'a [Sample], sample: &Sample, workload: Workload, subject: &str) -> Option<&'a Sample> {
    samples.iter().find(|other| {
        other.subject == subject && other.workload == workload && other.round == sample.round && other.phase == sample.phase
    })
}
