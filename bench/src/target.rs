//! The gateway's targets, and its distance from them.

use crate::{
    stats::Spread,
    summary::{FootprintSummary, REFERENCE, Summary},
    table::line,
    workload::Workload,
};

/// The subject that has targets.
const GATEWAY: &str = "pailou";

/// Processors from which on the load has one that is not among the gateway's two.
const FOR_TWO_CORES: usize = 3;

/// A figure and its bound.
struct Target {
    what: &'static str,
    unit: &'static str,
    bound: Bound,
    seen: Option<f64>,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// The targets that something was measured for, as a table; empty if there are none.
pub(crate) fn table(summaries: &[Summary], footprints: &[FootprintSummary], processors: usize) -> String {
    let rows: String = targets(summaries, footprints, processors).iter().filter_map(Target::row).collect();
    if rows.is_empty() { rows } else { format!("\n### Targets\n\n| | target | seen | |\n|---|---|---|---|\n{rows}") }
}

fn targets(summaries: &[Summary], footprints: &[FootprintSummary], processors: usize) -> Vec<Target> {
    use Bound::{AtLeast, AtMost};
    use Workload::{
        AllTelemetry, FewStreams, IdleTenThousand, IdleThousand, Jwt, Large, Limits, ManyRoutes, ManyStreams, Medium, NewJwt,
        Small, SomeTelemetry, Start, TwoCores,
    };
    let of = |workload, subject: &str| summaries.iter().find(|summary| summary.workload == workload && summary.subject == subject);
    let ratio = |workload| middle(of(workload, GATEWAY)?.cpu_ratio);
    let added = |workload| {
        let of_subject = |subject| middle(of(workload, subject)?.added_p50_us);
        Some(of_subject(GATEWAY)? / of_subject(REFERENCE)?)
    };
    let own = |workload| middle(of(workload, GATEWAY)?.own_ratio);
    let cpu = |workload| middle(of(workload, GATEWAY)?.cpu_us);
    let new_token = cpu(NewJwt).zip(cpu(Small)).map(|(with, without)| with - without);
    let footprint = |workload, figure: fn(&FootprintSummary) -> Option<Spread>| {
        middle(figure(footprints.iter().find(|summary| summary.workload == workload && summary.subject == GATEWAY)?))
    };
    let per_stream = |workload| Some(footprint(workload, |summary| summary.bytes_per_stream)? / 1e3);
    let target = |what, unit, bound, seen| Target { what, unit, bound, seen };
    vec![
        target("CPU per request, 200 B", "× haproxy", AtMost(1.1), ratio(Small)),
        target("CPU per request, 32 KiB", "× haproxy", AtMost(1.0), ratio(Medium)),
        target("CPU per request, 1 MiB", "× haproxy", AtMost(1.1), ratio(Large)),
        target("CPU per chunk, 16 streams", "× haproxy", AtMost(1.1), ratio(FewStreams)),
        target("CPU per chunk, 256 streams", "× haproxy", AtMost(1.1), ratio(ManyStreams)),
        target("added to the first chunk, p50, 16 streams", "× haproxy", AtMost(1.2), added(FewStreams)),
        target("added to the first chunk, p50, 256 streams", "× haproxy", AtMost(1.2), added(ManyStreams)),
        target("CPU per request, an API key, three limits, a budget", "× none", AtMost(1.05), own(Limits)),
        target("CPU per request, a JSON Web Token seen before", "× none", AtMost(1.05), own(Jwt)),
        target("CPU of a new JSON Web Token", "µs", AtMost(60.0), new_token),
        target("CPU per request, spans and receipts of 1 %, metrics", "× none", AtMost(1.03), own(SomeTelemetry)),
        target("CPU per request, spans and receipts of all, metrics", "× none", AtMost(1.15), own(AllTelemetry)),
        target("memory, idle", "MB", AtMost(12.0), footprint(Start, |summary| summary.idle_bytes).map(|bytes| bytes / 1e6)),
        target("memory per idle stream, of 1,000", "KB", AtMost(20.0), per_stream(IdleThousand)),
        target("memory per idle stream, of 10,000", "KB", AtMost(20.0), per_stream(IdleTenThousand)),
        target(
            "memory, 5,000 routes",
            "MB",
            AtMost(40.0),
            of(ManyRoutes, GATEWAY).and_then(|summary| Some(middle(summary.resident)? / 1e6)),
        ),
        target("start to first response", "ms", AtMost(30.0), footprint(Start, |summary| summary.start_ms)),
        target("CPU per request, 5,000 routes", "× 10 routes", AtMost(1.1), own(ManyRoutes)),
        target(
            "requests/s of two cores",
            "× one core",
            AtLeast(1.8),
            of(TwoCores, GATEWAY).filter(|_| processors >= FOR_TWO_CORES).and_then(|summary| middle(summary.own_per_second)),
        ),
    ]
}

fn middle(spread: Option<Spread>) -> Option<f64> {
    spread.map(|spread| spread.median)
}

impl Target {
    fn row(&self) -> Option<String> {
        let (seen, unit) = (self.seen?, self.unit);
        let (bound, sign, met) = match self.bound {
            Bound::AtMost(bound) => (bound, "≤", seen <= bound),
            Bound::AtLeast(bound) => (bound, "≥", seen >= bound),
        };
        let verdict = if met { "met".to_owned() } else { format!("missed by {:.0} %", (seen / bound - 1.0).abs() * 100.0) };
        Some(line(vec![self.what.into(), format!("{sign} {bound} {unit}"), format!("{seen:.2}"), verdict]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_whether_a_target_is_met_and_how_far() {
        let row = |bound, seen| Target { what: "it", unit: "MB", bound, seen }.row();
        assert_eq!(row(Bound::AtMost(10.0), Some(12.0)).unwrap(), "| it | ≤ 10 MB | 12.00 | missed by 20 % |\n");
        assert_eq!(row(Bound::AtLeast(1.8), Some(1.9)).unwrap(), "| it | ≥ 1.8 MB | 1.90 | met |\n");
        assert_eq!(row(Bound::AtMost(10.0), None), None);
        assert_eq!(table(&[], &[], 2), "");
    }
}
