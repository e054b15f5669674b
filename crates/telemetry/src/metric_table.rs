//! Metrics that are read when they are asked for, row by row.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeLabelSet, EncodeMetric, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// Contents of a histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Sum of all values.
    pub sum: f64,
    /// Number of values.
    pub count: u64,
    /// Upper bounds, and the values within each that are not within the one before. The last bound is infinite.
    pub buckets: Vec<(f64, u64)>,
}

impl Distribution {
    /// The sum of histograms with the same bounds; `None` where there are none.
    pub fn total(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().reduce(|mut total, one| {
            total.sum += one.sum;
            total.count += one.count;
            total.buckets.iter_mut().zip(&one.buckets).for_each(|(bucket, (_, count))| bucket.1 += count);
            total
        })
    }
}

/// Writes a gauge: a row is its labels and its value.
///
/// # Errors
/// The writer's.
pub fn gauges<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (L, f64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    rows.into_iter().try_for_each(|(labels, value)| ConstGauge::new(value).encode(metric.encode_family(&labels)?))
}

/// Writes a counter, of whole numbers or of amounts. Its name gets `_total` behind it.
///
/// # Errors
/// The writer's.
pub fn counters<L: EncodeLabelSet, N: EncodeCounterValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (L, N)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    rows.into_iter().try_for_each(|(labels, value)| ConstCounter::new(value).encode(metric.encode_family(&labels)?))
}

/// Writes a histogram.
///
/// # Errors
/// The writer's.
pub fn histograms<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (L, Distribution)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    rows.into_iter().try_for_each(|(labels, all)| {
        metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(all.sum, all.count, &all.buckets, None)
    })
}
