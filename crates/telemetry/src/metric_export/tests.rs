use prost::Message as _;

use super::*;

const TEXT: &str = r#"# HELP pailou_requests Requests.
# TYPE pailou_requests counter
pailou_requests_total{route="a/b",status="200"} 5 # {trace_id="0af7"} 1.0
pailou_requests_total{route="a\"},\\b",status=""} 2
# HELP up 1 while it is up.
# TYPE up gauge
up 0.5
# HELP odd Of another kind.
# TYPE odd info
odd_info{a="b"} 1
# HELP gen_ai_server_request_duration_seconds Durations.
# TYPE gen_ai_server_request_duration_seconds histogram
gen_ai_server_request_duration_seconds_sum{gen_ai_request_model="m"} 7.5
gen_ai_server_request_duration_seconds_count{gen_ai_request_model="m"} 4
gen_ai_server_request_duration_seconds_bucket{le="0.5",gen_ai_request_model="m"} 1
gen_ai_server_request_duration_seconds_bucket{le="2.0",gen_ai_request_model="m"} 3
gen_ai_server_request_duration_seconds_bucket{le="+Inf",gen_ai_request_model="m"} 4
# EOF
"#;

#[derive(Clone, PartialEq, prost::Message)]
struct Scope {
    #[prost(message, repeated, tag = "2")]
    metrics: Vec<Metric>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metric {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "3")]
    unit: String,
    #[prost(message, optional, tag = "5")]
    gauge: Option<Numbers>,
    #[prost(message, optional, tag = "7")]
    sum: Option<Numbers>,
    #[prost(message, optional, tag = "9")]
    histogram: Option<Histograms>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Numbers {
    #[prost(message, repeated, tag = "1")]
    points: Vec<Number>,
    #[prost(int32, tag = "2")]
    temporality: i32,
    #[prost(bool, tag = "3")]
    is_monotonic: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Number {
    #[prost(fixed64, tag = "2")]
    start: u64,
    #[prost(fixed64, tag = "3")]
    time: u64,
    #[prost(double, tag = "4")]
    value: f64,
    #[prost(message, repeated, tag = "7")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Histograms {
    #[prost(message, repeated, tag = "1")]
    points: Vec<HistogramPoint>,
    #[prost(int32, tag = "2")]
    temporality: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HistogramPoint {
    #[prost(fixed64, tag = "4")]
    count: u64,
    #[prost(double, tag = "5")]
    sum: f64,
    #[prost(fixed64, repeated, tag = "6")]
    counts: Vec<u64>,
    #[prost(double, repeated, tag = "7")]
    bounds: Vec<f64>,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(string, tag = "1")]
    text: String,
}

fn exported(export: &mut MetricExport, text: &str, now: u64) -> Vec<Metric> {
    let mut all = Vec::new();
    export.export(text, now, |message| all.extend(Scope::decode(message).unwrap().metrics));
    all
}

fn pairs(attributes: &[KeyValue]) -> Vec<(&str, &str)> {
    attributes.iter().map(|pair| (pair.key.as_str(), pair.value.as_ref().unwrap().text.as_str())).collect()
}

#[test]
fn the_registrys_text_becomes_metrics() {
    let mut export = MetricExport::new(Temporality::default(), 10);
    let [requests, up, durations] = <[Metric; 3]>::try_from(exported(&mut export, TEXT, 20)).unwrap();
    let sum = requests.sum.unwrap();
    assert_eq!((requests.name.as_str(), sum.temporality, sum.is_monotonic), ("pailou_requests", 2, true));
    let values: Vec<_> = sum.points.iter().map(|point| (point.start, point.time, point.value)).collect();
    assert_eq!(values, [(10, 20, 5.0), (10, 20, 2.0)]);
    assert_eq!(pairs(&sum.points[0].attributes), [("route", "a/b"), ("status", "200")]);
    assert_eq!(pairs(&sum.points[1].attributes), [("route", "a\"},\\b")]);
    assert_eq!((up.name.as_str(), up.gauge.unwrap().points[0].value), ("up", 0.5));
    let histogram = durations.histogram.unwrap();
    assert_eq!((durations.name.as_str(), durations.unit.as_str()), ("gen_ai.server.request.duration", "s"));
    let point = &histogram.points[0];
    assert_eq!((point.count, point.sum, &point.counts, &point.bounds), (4, 7.5, &vec![1, 2, 1], &vec![0.5, 2.0]));
    assert_eq!(pairs(&point.attributes), [("gen_ai.request.model", "m")]);
}

#[test]
fn deltas_tell_what_came_since_the_last_time() {
    let temporality = Temporality { counters_are_deltas: true, histograms_are_deltas: true };
    let mut export = MetricExport::new(temporality, 10);
    exported(&mut export, TEXT, 20);
    let later = TEXT
        .replace("status=\"200\"} 5", "status=\"200\"} 9")
        .replace("_count{gen_ai_request_model=\"m\"} 4", "_count{gen_ai_request_model=\"m\"} 6");
    let later = later.replace("le=\"0.5\",gen_ai_request_model=\"m\"} 1", "le=\"0.5\",gen_ai_request_model=\"m\"} 2");
    let later = later.replace("le=\"2.0\",gen_ai_request_model=\"m\"} 3", "le=\"2.0\",gen_ai_request_model=\"m\"} 5");
    let later = later.replace("le=\"+Inf\",gen_ai_request_model=\"m\"} 4", "le=\"+Inf\",gen_ai_request_model=\"m\"} 6");
    let [requests, up, durations] = <[Metric; 3]>::try_from(exported(&mut export, &later, 30)).unwrap();
    let sum = requests.sum.unwrap();
    let values: Vec<_> = sum.points.iter().map(|point| (point.start, point.value)).collect();
    assert_eq!((sum.temporality, values), (1, vec![(20, 4.0), (20, 0.0)]));
    assert_eq!(up.gauge.unwrap().points[0].value, 0.5, "gauges are as they are");
    let histogram = durations.histogram.unwrap();
    let point = &histogram.points[0];
    assert_eq!((histogram.temporality, point.count, point.sum, &point.counts), (1, 2, 0.0, &vec![1, 1, 0]));
}

#[test]
fn a_family_with_many_series_has_several_messages() {
    let mut text = "# HELP many Many.\n# TYPE many gauge\n".to_owned();
    (0..1200).for_each(|number| text.push_str(&format!("many{{a=\"{number}\"}} {number}\n")));
    let all = exported(&mut MetricExport::new(Temporality::default(), 1), &text, 2);
    let counts: Vec<_> = all.into_iter().map(|metric| metric.gauge.unwrap().points.len()).collect();
    assert_eq!(counts, [500, 500, 200]);
}
