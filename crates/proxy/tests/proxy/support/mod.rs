//! Proxies, backends, clients and pickers that the tests share.

pub(crate) mod by_hand;
pub(crate) mod ear;
pub(crate) mod limit_service;
pub(crate) mod log;
pub(crate) mod login;
pub(crate) mod mmdb;
pub(crate) mod objects;
pub(crate) mod picked;
pub(crate) mod picker;
pub(crate) mod pki;
pub(crate) mod processor;
pub(crate) mod provider;
pub(crate) mod secured;

use pailou_picker::MetricNames;
use pailou_proxy::{
    Options, access_log::Sink, dns::Overrides, local_addresses::LocalAddresses, model_spans::ModelSpans, receipts::ReceiptSettings,
};

/// Options of a proxy under test.
pub(crate) fn options(workers: usize, access_log: Sink) -> Options {
    Options {
        workers,
        overrides: Overrides::default(),
        access_log,
        response_flags: true,
        body_budget: 64 << 20,
        metric_names: MetricNames {
            inference_pool: true,
            inference_objective: true,
            inference_extension: true,
            llm_d: true,
            http: true,
            envoy_gateway: true,
            ack: true,
        },
        local_addresses: LocalAddresses::Allowed,
        local_backends: LocalAddresses::Allowed,
        receipts: ReceiptSettings { count: 64, share: 1.0, slow: None, headers: false },
        tracing: None,
        model_spans: ModelSpans::default(),
        metric_sink: None,
        token_source: None,
    }
}
