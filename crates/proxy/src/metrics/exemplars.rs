//! Exemplars: traces of requests that are examples of a histogram's buckets. Only requests whose traces are kept have any.

use std::{
    fmt::Write as _,
    hash::{BuildHasher as _, Hash},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hashbrown::{DefaultHashBuilder, HashMap};
use pailou_telemetry::ids::TraceId;
use parking_lot::Mutex;

use super::durations::{BOUNDS, bucket};

/// Series of a histogram that have exemplars, at most. A further one takes the place of the one without a request for the longest time.
const MAX_SERIES: usize = 250;
/// While a scrape writes them, those that change are there twice: 2 MB at most.
const _: () = assert!(Histogram::ALL.len() * MAX_SERIES * size_of::<Buckets>() <= 1_100_000);

/// A histogram that has exemplars.
#[derive(Clone, Copy)]
pub(super) enum Histogram {
    /// Durations of a rule's requests.
    Requests,
    /// Times to their first token.
    FirstTokens,
    /// Durations of a model's calls.
    Calls,
    /// Times to their first token.
    FirstTokensOfCalls,
}

impl Histogram {
    const ALL: [Self; 4] = [Self::Requests, Self::FirstTokens, Self::Calls, Self::FirstTokensOfCalls];

    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "pailou_request_duration_seconds",
            Self::FirstTokens => "pailou_time_to_first_token_seconds",
            Self::Calls => "gen_ai_server_request_duration_seconds",
            Self::FirstTokensOfCalls => "gen_ai_server_time_to_first_token_seconds",
        }
    }
}

/// Exemplars by histogram and labels.
#[derive(Default)]
pub(super) struct Exemplars {
    /// Hashes the parts that labels are written of: a request writes none that are known.
    hasher: DefaultHashBuilder,
    all: Mutex<[HashMap<u64, Series>; Histogram::ALL.len()]>,
}

/// A request whose trace is kept.
#[derive(Clone, Copy)]
pub(super) struct Example {
    pub(super) trace_id: TraceId,
    /// Time of its end.
    pub(super) time: SystemTime,
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
    /// Notes a request that has just ended as an example, in the series of a key; `labels` are what the key is written as.
    pub(super) fn observe(
        &self,
        histogram: Histogram,
        key: impl Hash,
        labels: impl FnOnce() -> Arc<str>,
        example: Example,
        duration: Duration,
    ) {
        let Example { trace_id, time } = example;
        let exemplar = Exemplar { trace_id, duration, time };
        let hash = self.hasher.hash_one(key);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let mut all = self.all.lock();
        let by_key = &mut all[histogram as usize];
        if by_key.len() >= MAX_SERIES && !by_key.contains_key(&hash) {
            make_room(by_key);
        }
        let new = || Series { labels: labels(), buckets: Arc::new([None; BOUNDS + 1]), latest: time };
        let series = by_key.entry(hash).or_insert_with(new);
        series.latest = time;
        Arc::make_mut(&mut series.buckets)[bucket(nanos)] = Some(exemplar);
    }

    /// Adds them to the buckets of metrics in OpenMetrics' format. The library that writes it takes no exemplars from elsewhere.
    pub(super) fn add_to(&self, text: &mut String) {
        // Requests that end are not to wait until all the text is written.
        let all = self.copy();
        if all.values().any(|series| !series.is_empty()) {
            *text = with_exemplars(text, &all);
        }
    }

    fn copy(&self) -> ByName {
        let by_labels = |series: &HashMap<u64, Series>| series.values().map(|it| (Arc::clone(&it.labels), it.clone())).collect();
        Histogram::ALL.iter().zip(&*self.all.lock()).map(|(histogram, series)| (histogram.name(), by_labels(series))).collect()
    }
}

/// Lets go of the series without a request for the longest time.
fn make_room(by_key: &mut HashMap<u64, Series>) {
    let oldest = by_key.iter().min_by_key(|(_, series)| series.latest).map(|(hash, _)| *hash);
    if let Some(hash) = oldest {
        by_key.remove(&hash);
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
pub(super) fn written(labels: &[(&str, &str)]) -> Arc<str> {
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

    const NAME: &str = Histogram::Requests.name();

    fn observe(exemplars: &Exemplars, labels: &[(&str, &str)], trace_id: TraceId, duration: Duration) {
        let example = Example { trace_id, time: SystemTime::now() };
        exemplars.observe(Histogram::Requests, labels, || written(labels), example, duration);
    }

    #[test]
    fn an_exemplar_is_put_to_the_bucket_of_its_labels() {
        let exemplars = Exemplars::default();
        let trace_id = TraceId::from_random(1);
        let named = |text: &str| text.replace("a_", &format!("{NAME}_"));
        let before = "# TYPE a histogram\na_sum{x=\"\\\"} \"} 1\na_bucket{le=\"0.00125\",x=\"\\\"} \"} 1\na_bucket{le=\"0.0025\",x=\"\\\"} \"} 1\n\
                      a_bucket{le=\"0.0025\",x=\"y\"} 1\na_bucket{le=\"+Inf\",x=\"\\\"} \"} 1\n# EOF\n";
        let before = named(before);
        let mut text = before.clone();
        exemplars.add_to(&mut text);
        assert_eq!(text, before);
        observe(&exemplars, &[("x", "\"} ")], trace_id, Duration::from_millis(2));
        exemplars.add_to(&mut text);
        let (line, exemplar) = text.lines().find_map(|line| line.split_once(" # {")).unwrap();
        assert_eq!(line, named("a_bucket{le=\"0.0025\",x=\"\\\"} \"} 1"));
        assert!(exemplar.starts_with(&format!("trace_id=\"{trace_id}\"}} 0.002 ")), "{exemplar}");
        assert_eq!(text.matches(" # {").count(), 1);
    }

    #[test]
    fn beyond_the_bound_the_series_that_rests_longest_makes_room() {
        let exemplars = Exemplars::default();
        let observe_number = |number: usize| {
            observe(&exemplars, &[("x", &number.to_string())], TraceId::from_random(1), Duration::ZERO);
            // The clock is too coarse to tell which came first.
            let mut all = exemplars.all.lock();
            let is_it = |series: &&mut Series| *series.labels == *format!("x=\"{number}\"");
            let series = all[Histogram::Requests as usize].values_mut().find(is_it).unwrap();
            series.latest = UNIX_EPOCH + Duration::from_secs(number as u64);
        };
        (0..=MAX_SERIES).for_each(observe_number);
        let all = exemplars.copy();
        assert_eq!(all[NAME].len(), MAX_SERIES);
        assert!(!all[NAME].contains_key("x=\"0\""));
        assert!(all[NAME].contains_key(&*format!("x=\"{MAX_SERIES}\"")));
    }

    #[test]
    fn requests_end_while_a_scrape_writes() {
        let exemplars = Exemplars::default();
        let (first, second) = (TraceId::from_random(1), TraceId::from_random(2));
        observe(&exemplars, &[("x", "y")], first, Duration::ZERO);
        let copy = exemplars.copy();
        observe(&exemplars, &[("x", "y")], second, Duration::ZERO);
        let text = &format!("{NAME}_bucket{{le=\"0.00125\",x=\"y\"}} 1\n");
        assert!(with_exemplars(text, &copy).contains(&first.to_string()));
        let mut after = text.to_owned();
        exemplars.add_to(&mut after);
        assert!(after.contains(&second.to_string()), "{after}");
    }
}
