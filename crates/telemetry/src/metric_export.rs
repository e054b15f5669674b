//! Metrics as OTLP has them, of what a process shows to Prometheus.
//!
//! The source is the text that the registry writes, and not the registry itself: the library's second encoder is for another format, and brings a
//! compiler of protobuf into the build.

mod message;
mod names;
mod text;

use std::collections::HashMap;

use self::{
    message::{Points, append_metric},
    text::{Family, Kind},
};

/// Most points of a message; a family with more has several.
const MAX_POINTS: usize = 500;

/// Whether values are told since the beginning or since the last time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Temporality {
    /// Counters are told since the last time.
    pub counters_are_deltas: bool,
    /// Histograms are told since the last time.
    pub histograms_are_deltas: bool,
}

/// Makes messages of texts, time after time.
pub struct MetricExport {
    temporality: Temporality,
    /// Nanoseconds since 1970.
    began: u64,
    last: u64,
    /// Values of the last time, of what is told as a difference. Bounded as the text's series are.
    before: HashMap<Box<str>, Vec<f64>>,
}

impl MetricExport {
    /// Of a process that began to count at a time, in nanoseconds since 1970.
    pub fn new(temporality: Temporality, began: u64) -> Self {
        Self { temporality, began, last: began, before: HashMap::new() }
    }

    /// Encodes the metrics of a text at a time: gives each message, a metric with some of its points, to `take`.
    pub fn export(&mut self, text: &str, now: u64, mut take: impl FnMut(&[u8])) {
        let mut message = Vec::new();
        for family in text::families(text) {
            let is_delta = match family.kind {
                Kind::Counter => self.temporality.counters_are_deltas,
                Kind::Histogram => self.temporality.histograms_are_deltas,
                Kind::Gauge => false,
            };
            let family = if is_delta { self.difference(family) } else { family };
            let start = if is_delta { self.last } else { self.began };
            for part in family.series.chunks(MAX_POINTS) {
                message.clear();
                append_metric(&mut message, &family, &Points { series: part, start, now, is_delta });
                take(&message);
            }
        }
        self.last = now;
    }

    /// Growth since the last time.
    fn difference<'t>(&mut self, mut family: Family<'t>) -> Family<'t> {
        for series in &mut family.series {
            let key = format!("{}{{{}}}", family.name, series.labels);
            let values = series.values.clone();
            if let Some(before) = self.before.get(key.as_str()).filter(|before| before.len() == values.len()) {
                series.values.iter_mut().zip(before).for_each(|(value, before)| *value = (*value - before).max(0.0));
            }
            self.before.insert(key.into(), values);
        }
        family
    }
}

#[cfg(test)]
mod tests;
