//! Figures of KV events and tokens of the pool, if its engines publish some.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use pailou_picker::ExactFigure;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Registry,
};

/// The figures, as they were when they were last asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct ExactPrefixes(Arc<ArcSwap<Vec<ExactFigure>>>);

impl ExactPrefixes {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }

    /// They are these now.
    pub(super) fn set(&self, figures: Vec<ExactFigure>) {
        self.0.store(Arc::new(figures));
    }
}

impl Collector for ExactPrefixes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for ExactFigure { name, help, label, values } in &**self.0.load() {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            match (label, &values[..]) {
                (Some(label), values) => {
                    for (value, figure) in values {
                        ConstGauge::new(*figure).encode(metric.encode_family(&[(*label, *value)])?)?;
                    }
                }
                (None, [(_, figure)]) => ConstGauge::new(*figure).encode(metric)?,
                (None, _) => {}
            }
        }
        Ok(())
    }
}
