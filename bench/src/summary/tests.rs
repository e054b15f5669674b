use super::*;
use crate::footprint::{Footprint, Held};

fn sample(workload: Workload, subject: &str, round: u32, cpu_us: Option<f64>, p50_us: f64) -> Sample {
    Sample {
        workload,
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
        gateway: cpu_us.map(|cpu_us| Usage { cpu_us, busy: 0.5, others: Some(0.0), resident: 0 }),
    }
}

fn only(value: f64) -> Option<Spread> {
    Some(Spread { median: value, low: value, high: value })
}

#[test]
fn ratios_and_added_latencies_are_within_a_round() {
    let small = |subject, round, cpu_us, p50_us| sample(Workload::Small, subject, round, cpu_us, p50_us);
    let samples = [
        small("direct", 0, None, 10.0),
        small("haproxy", 0, Some(10.0), 30.0),
        small("pailou", 0, Some(15.0), 40.0),
        small("direct", 1, None, 20.0),
        small("haproxy", 1, Some(20.0), 40.0),
        small("pailou", 1, Some(30.0), 50.0),
    ];
    let summaries = Summary::all(&samples);
    assert_eq!(summaries.iter().map(|summary| &*summary.subject).collect::<Vec<_>>(), ["direct", "haproxy", "pailou"]);
    assert_eq!(summaries[2].cpu_ratio, only(1.5));
    assert_eq!(summaries[2].added_p50_us, only(30.0));
    assert_eq!(summaries[2].own_ratio, None);
    assert_eq!(summaries[0].cpu_ratio, None);
    assert_eq!(summaries[1].errors, 2);
}

#[test]
fn a_workload_is_compared_with_its_base_of_the_same_gateway_and_round() {
    let samples = [
        sample(Workload::ManyRoutes, "pailou", 0, Some(12.0), 1.0),
        sample(Workload::ManyRoutes, "pailou", 1, Some(24.0), 1.0),
        sample(Workload::FewRoutes, "pailou", 0, Some(10.0), 1.0),
        sample(Workload::FewRoutes, "pailou", 1, Some(20.0), 1.0),
        sample(Workload::FewRoutes, "haproxy", 0, Some(1.0), 1.0),
    ];
    let summaries = Summary::all(&samples);
    assert_eq!(summaries.iter().map(|summary| summary.workload).collect::<Vec<_>>()[2], Workload::ManyRoutes);
    assert_eq!(summaries[2].own_ratio, only(1.2));
}

#[test]
fn streams_cost_what_memory_grew_by() {
    let footprint = |idle_bytes, bytes| Footprint {
        workload: Workload::IdleThousand,
        subject: "pailou".into(),
        round: 0,
        start_ms: 3.0,
        idle_bytes,
        anonymous_bytes: 7,
        held: Some(Held { streams: 10, bytes }),
    };
    let summaries = FootprintSummary::all(&[footprint(100, 300), footprint(100, 300)]);
    assert_eq!(summaries.len(), 1);
    assert_eq!(summaries[0].bytes_per_stream, only(20.0));
    assert_eq!(summaries[0].start_ms, only(3.0));
}
