//! Exemplars: traces of requests that are examples of a histogram's buckets. Only requests whose traces are kept have any.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hashbrown::HashMap;
use pailou_telemetry::ids::TraceId;
use parking_lot::Mutex;

use super::durations::{BOUNDS, bucket};

/// Series of a histogram that have exemplars, at most. If there are more, all are forgotten.
const MAX_SERIES: usize = 1_000;

/// Exemplars by histogram, and by labels as they are written.
#[derive(Default)]
pub(super) struct Exemplars(Mutex<HashMap<&'static str, HashMap<Box<str>, Buckets>>>);

type Buckets = [Option<Exemplar>; BOUNDS + 1];

#[derive(Clone, Copy)]
struct Exemplar {
    trace_id: TraceId,
    duration: Duration,
    time: SystemTime,
}

impl Exemplars {
    /// Notes a request that has just ended as an example.
    pub(super) fn observe(&self, name: &'static str, labels: &[(&str, &str)], trace_id: TraceId, duration: Duration) {
        let exemplar = Exemplar { trace_id, duration, time: SystemTime::now() };
        let labels = written(labels);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let mut all = self.0.lock();
        let series = all.entry(name).or_default();
        if series.len() >= MAX_SERIES && !series.contains_key(&labels) {
            series.clear();
        }
        series.entry(labels).or_insert([None; BOUNDS + 1])[bucket(nanos)] = Some(exemplar);
    }

    /// Adds them to the buckets of metrics in OpenMetrics' format. The library that writes it takes no exemplars from elsewhere.
    pub(super) fn add_to(&self, text: &mut String) {
        let all = self.0.lock();
        if all.is_empty() {
            return;
        }
        let mut added = String::with_capacity(text.len() + text.len() / 8);
        for line in text.lines() {
            added.push_str(line);
            if let Some(exemplar) = all.iter().find_map(|(name, series)| of_line(line, name, series)) {
                let Exemplar { trace_id, duration, time } = exemplar;
                let time = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
                // Writing to a String cannot fail.
                let _ = write!(added, " # {{trace_id=\"{trace_id}\"}} {} {time:.3}", duration.as_secs_f64());
            }
            added.push('\n');
        }
        *text = added;
    }
}

/// The exemplar of a bucket's line.
fn of_line<'a>(line: &str, name: &str, series: &'a HashMap<Box<str>, Buckets>) -> Option<&'a Exemplar> {
    let rest = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?;
    let (bound, rest) = rest.split_once("\",")?;
    let (labels, _) = rest.rsplit_once("} ")?;
    let place = if bound == "+Inf" { BOUNDS } else { bucket((bound.parse::<f64>().ok()? * 1e9).round() as u64) };
    series.get(labels)?[place].as_ref()
}

/// Labels as OpenMetrics has them.
fn written(labels: &[(&str, &str)]) -> Box<str> {
    let mut text = String::new();
    for (name, value) in labels {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{name}=\"{value}\"");
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exemplar_is_put_to_the_bucket_of_its_labels() {
        let exemplars = Exemplars::default();
        let trace_id = TraceId::from_random(1);
        let before = "# TYPE a histogram\na_sum{x=\"\\\"} \"} 1\na_bucket{le=\"0.00125\",x=\"\\\"} \"} 1\na_bucket{le=\"0.0025\",x=\"\\\"} \"} 1\n\
                      a_bucket{le=\"0.0025\",x=\"y\"} 1\na_bucket{le=\"+Inf\",x=\"\\\"} \"} 1\n# EOF\n";
        let mut text = before.to_owned();
        exemplars.add_to(&mut text);
        assert_eq!(text, before);
        exemplars.observe("a", &[("x", "\"} ")], trace_id, Duration::from_millis(2));
        exemplars.add_to(&mut text);
        let (line, exemplar) = text.lines().find_map(|line| line.split_once(" # {")).unwrap();
        assert_eq!(line, "a_bucket{le=\"0.0025\",x=\"\\\"} \"} 1");
        assert!(exemplar.starts_with(&format!("trace_id=\"{trace_id}\"}} 0.002 ")), "{exemplar}");
        assert_eq!(text.matches(" # {").count(), 1);
    }

    #[test]
    fn series_with_exemplars_are_bounded() {
        let exemplars = Exemplars::default();
        for number in 0..=MAX_SERIES {
            exemplars.observe("a", &[("x", &number.to_string())], TraceId::from_random(1), Duration::ZERO);
        }
        assert_eq!(exemplars.0.lock()["a"].len(), 1);
    }
}
