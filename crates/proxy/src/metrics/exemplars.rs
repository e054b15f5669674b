//! Exemplars: traces of requests that are examples of a histogram's buckets. Only requests whose traces are kept have any.

use std::{
    fmt::Write as _,
    hash::BuildHasher as _,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hashbrown::{DefaultHashBuilder, HashMap};
use pailou_telemetry::ids::TraceId;
use parking_lot::Mutex;

use super::durations::{BOUNDS, bucket};

/// Series of a histogram that have exemplars, at most. A further one takes the place of the one without a request for the longest time.
const MAX_SERIES: usize = 250;
/// Histograms that have exemplars.
const MAX_NAMES: usize = 4;
/// While a scrape writes them, those that change are there twice: 2 MB at most.
const _: () = assert!(MAX_NAMES * MAX_SERIES * size_of::<Buckets>() <= 1_100_000);

/// Exemplars by histogram and labels.
#[derive(Default)]
pub(super) struct Exemplars {
    /// Hashes labels: a request writes none that are known.
    hasher: DefaultHashBuilder,
    all: Mutex<HashMap<&'static str, HashMap<u64, Series>>>,
}

/// Exemplars by histogram, and by labels as they are written.
type ByName = HashMap<&'static str, HashMap<Arc<str>, Series>>;

/// A series; a copy shares the exemplars until either changes.
#[derive(Clone)]
struct Series {
    /// Labels as OpenMetrics has them.
    labels: Arc<str>,
    buckets: Arc<Buckets>,
    latest: SystemTime,
}

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
        let time = SystemTime::now();
        let exemplar = Exemplar { trace_id, duration, time };
        let hash = self.hasher.hash_one(labels);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let mut all = self.all.lock();
        let by_labels = all.entry(name).or_default();
        if by_labels.len() >= MAX_SERIES && !by_labels.contains_key(&hash) {
            make_room(by_labels);
        }
        let new = || Series { labels: written(labels), buckets: Arc::new([None; BOUNDS + 1]), latest: time };
        let series = by_labels.entry(hash).or_insert_with(new);
        series.latest = time;
        Arc::make_mut(&mut series.buckets)[bucket(nanos)] = Some(exemplar);
    }

    /// Adds them to the buckets of metrics in OpenMetrics' format. The library that writes it takes no exemplars from elsewhere.
    pub(super) fn add_to(&self, text: &mut String) {
        // Requests that end are not to wait until all the text is written.
        let all = self.copy();
        if !all.is_empty() {
            *text = with_exemplars(text, &all);
        }
    }

    fn copy(&self) -> ByName {
        let by_labels = |series: &HashMap<u64, Series>| series.values().map(|it| (Arc::clone(&it.labels), it.clone())).collect();
        self.all.lock().iter().map(|(name, series)| (*name, by_labels(series))).collect()
    }
}

/// Lets go of the series without a request for the longest time.
fn make_room(by_labels: &mut HashMap<u64, Series>) {
    let oldest = by_labels.iter().min_by_key(|(_, series)| series.latest).map(|(hash, _)| *hash);
    if let Some(hash) = oldest {
        by_labels.remove(&hash);
    }
}

fn with_exemplars(text: &str, all: &ByName) -> String {
    let mut added = String::with_capacity(text.len() + text.len() / 8);
    for line in text.lines() {
        added.push_str(line);
        if let Some(exemplar) = all.iter().find_map(|(name, by_labels)| of_line(line, name, by_labels)) {
            let Exemplar { trace_id, duration, time } = exemplar;
            let time = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            // Writing to a String cannot fail.
            let _ = write!(added, " # {{trace_id=\"{trace_id}\"}} {} {time:.3}", duration.as_secs_f64());
        }
        added.push('\n');
    }
    added
}

/// The exemplar of a bucket's line.
fn of_line<'a>(line: &str, name: &str, by_labels: &'a HashMap<Arc<str>, Series>) -> Option<&'a Exemplar> {
    let rest = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?;
    let (bound, rest) = rest.split_once("\",")?;
    let (labels, _) = rest.rsplit_once("} ")?;
    let place = if bound == "+Inf" { BOUNDS } else { bucket((bound.parse::<f64>().ok()? * 1e9).round() as u64) };
    by_labels.get(labels)?.buckets[place].as_ref()
}

/// Labels as OpenMetrics has them.
fn written(labels: &[(&str, &str)]) -> Arc<str> {
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
    fn beyond_the_bound_the_series_that_rests_longest_makes_room() {
        let exemplars = Exemplars::default();
        let observe = |number: usize| {
            exemplars.observe("a", &[("x", &number.to_string())], TraceId::from_random(1), Duration::ZERO);
            // The clock is too coarse to tell which came first.
            let mut all = exemplars.all.lock();
            let is_it = |series: &&mut Series| *series.labels == *format!("x=\"{number}\"");
            let series = all.get_mut("a").unwrap().values_mut().find(is_it).unwrap();
            series.latest = UNIX_EPOCH + Duration::from_secs(number as u64);
        };
        (0..=MAX_SERIES).for_each(observe);
        let all = exemplars.copy();
        assert_eq!(all["a"].len(), MAX_SERIES);
        assert!(!all["a"].contains_key("x=\"0\""));
        assert!(all["a"].contains_key(&*format!("x=\"{MAX_SERIES}\"")));
    }

    #[test]
    fn requests_end_while_a_scrape_writes() {
        let exemplars = Exemplars::default();
        let (first, second) = (TraceId::from_random(1), TraceId::from_random(2));
        exemplars.observe("a", &[("x", "y")], first, Duration::ZERO);
        let copy = exemplars.copy();
        exemplars.observe("a", &[("x", "y")], second, Duration::ZERO);
        let text = "a_bucket{le=\"0.00125\",x=\"y\"} 1\n";
        assert!(with_exemplars(text, &copy).contains(&first.to_string()));
        let mut after = text.to_owned();
        exemplars.add_to(&mut after);
        assert!(after.contains(&second.to_string()), "{after}");
    }
}
