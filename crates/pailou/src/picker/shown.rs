//! What the admin endpoint shows of a picker.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pailou_epp::EndpointPicker;
use serde_json::json;

use crate::admin;

/// A picker, as far as others may see it.
pub(super) struct Shown {
    picker: Arc<EndpointPicker>,
    draining: AtomicBool,
}

impl Shown {
    pub(super) fn new(picker: Arc<EndpointPicker>) -> Self {
        Self { picker, draining: AtomicBool::new(false) }
    }

    /// New requests should go elsewhere from now on.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

impl admin::State for Shown {
    fn is_ready(&self) -> bool {
        self.picker.is_ready() && !self.draining.load(Ordering::Relaxed)
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        self.picker.encode_metrics(&mut text);
        text
    }

    fn status(&self) -> String {
        let endpoints = self.picker.endpoints();
        let endpoints = endpoints.iter().map(|report| {
            json!({
                "name": &*report.endpoint.name,
                "address": report.endpoint.address.to_string(),
                "fresh": report.fresh,
                "waiting": report.waiting,
                "running": report.running,
                "kv": report.kv,
                "inFlight": report.in_flight,
                "inFlightTokens": report.in_flight_tokens,
                "failing": report.failing,
                "prefixBlocks": report.prefix_blocks,
            })
        });
        let document = json!({"ready": self.picker.is_ready(), "endpoints": endpoints.collect::<Vec<_>>()});
        serde_json::to_string_pretty(&document).expect("figures are strings and numbers") + "\n"
    }
}
