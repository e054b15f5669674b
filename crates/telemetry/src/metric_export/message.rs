//! A metric as OTLP has it: `opentelemetry.proto.metrics.v1`.

use super::{
    names,
    text::{Family, Kind, Series, labels},
};
use crate::{attributes::Attributes, protobuf, span::ITEMS_FIELD};

const DELTA: u64 = 1;
const CUMULATIVE: u64 = 2;

/// Points of a message.
pub(super) struct Points<'p, 't> {
    pub(super) series: &'p [Series<'t>],
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) now: u64,
    pub(super) is_delta: bool,
}

/// Appends a metric to a buffer of them.
pub(super) fn append_metric(out: &mut Vec<u8>, family: &Family<'_>, points: &Points<'_, '_>) {
    protobuf::nested_field(out, ITEMS_FIELD, |out| {
        let (name, unit) = names::metric(family.name);
        protobuf::bytes_field(out, 1, name.as_bytes());
        protobuf::bytes_field(out, 2, family.help.as_bytes());
        if !unit.is_empty() {
            protobuf::bytes_field(out, 3, unit.as_bytes());
        }
        let field = match family.kind {
            Kind::Gauge => 5,
            Kind::Counter => 7,
            Kind::Histogram => 9,
        };
        protobuf::nested_field(out, field, |out| {
            for series in points.series {
                protobuf::nested_field(out, 1, |out| match family.kind {
                    Kind::Histogram => histogram(out, family, series, points),
                    Kind::Counter | Kind::Gauge => number(out, family, series, points),
                });
            }
            if family.kind != Kind::Gauge {
                protobuf::varint_field(out, 2, if points.is_delta { DELTA } else { CUMULATIVE });
            }
            if family.kind == Kind::Counter {
                protobuf::varint_field(out, 3, 1);
            }
        });
    });
}

fn number(out: &mut Vec<u8>, family: &Family<'_>, series: &Series<'_>, points: &Points<'_, '_>) {
    if family.kind == Kind::Counter {
        protobuf::fixed64_field(out, 2, points.start);
    }
    protobuf::fixed64_field(out, 3, points.now);
    let value = series.values.first().copied().unwrap_or_default();
    protobuf::fixed64_field(out, 4, value.to_bits());
    attributes(out, 7, family, series);
}

fn histogram(out: &mut Vec<u8>, family: &Family<'_>, series: &Series<'_>, points: &Points<'_, '_>) {
    let [sum, count, cumulative @ ..] = series.values.as_slice() else { return };
    protobuf::fixed64_field(out, 2, points.start);
    protobuf::fixed64_field(out, 3, points.now);
    // Counts are whole numbers; a cast from a float saturates.
    protobuf::fixed64_field(out, 4, *count as u64);
    protobuf::fixed64_field(out, 5, sum.to_bits());
    protobuf::nested_field(out, 6, |out| {
        let mut below = 0.0;
        for all in cumulative {
            out.extend_from_slice(&((all - below).max(0.0) as u64).to_le_bytes());
            below = *all;
        }
    });
    protobuf::nested_field(out, 7, |out| series.bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_le_bytes())));
    attributes(out, 9, family, series);
}

fn attributes(out: &mut Vec<u8>, field: u32, family: &Family<'_>, series: &Series<'_>) {
    let mut attributes = Attributes::new(out, field);
    // An empty label is none, in Prometheus.
    for (name, value) in labels(series.labels).filter(|(_, value)| !value.is_empty()) {
        attributes.text(names::label(family.name, name), &value);
    }
}
