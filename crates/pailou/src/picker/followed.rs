//! The pool among all objects, handed to the picker as it changes.

use std::sync::Arc;

use pailou_api::NamespaceName;
use pailou_compile::{PickerConfiguration, one_pool, store::Store};
use pailou_epp::EndpointPicker;
use pailou_proxy::metrics_transport::MetricsTransport;
use pailou_snapshot::{Roots, TlsVersion, UpstreamTls};

use super::configuration;
use crate::{
    cli::{MetricsScheme, PickerArgs},
    exit::Error,
};

/// A pool that is followed.
pub(super) struct Followed {
    picker: Arc<EndpointPicker>,
    group: Option<&'static str>,
    namespace: NamespaceName,
    name: String,
    configuration: Option<Arc<PickerConfiguration>>,
    /// TLS towards engines' metrics where no BackendTLSPolicy says it; `None` is plain TCP.
    metrics_tls: Option<Arc<UpstreamTls>>,
    /// The pool as last logged.
    reported: Option<PoolSummary>,
}

#[derive(PartialEq, Eq)]
struct PoolSummary {
    endpoints: Option<usize>,
    warnings: Vec<String>,
}

impl Followed {
    /// The pool that the flags name, in this namespace.
    ///
    /// # Errors
    /// The configuration file cannot be read.
    pub(super) fn new(picker: Arc<EndpointPicker>, args: &PickerArgs, namespace: NamespaceName) -> Result<Self, Error> {
        let (group, name) = (args.pool_group, args.pool_name.clone());
        let configuration = configuration::read(args)?.map(Arc::new);
        Ok(Self { picker, group, namespace, name, configuration, metrics_tls: metrics_tls(args), reported: None })
    }

    /// The objects are these now.
    pub(super) fn take(&mut self, objects: &Store) {
        let pool = one_pool(objects, self.group, (self.namespace.as_str(), &self.name), self.configuration.as_ref());
        let endpoints = pool.as_ref().map(|pool| pool.endpoints.len());
        let warnings = pool.as_ref().map(|pool| pool.warnings.clone()).unwrap_or_default();
        let tls = pool.as_ref().map_or(Ok(None), |pool| pool.tls.clone());
        let transport = MetricsTransport::of(&tls.map(|tls| tls.or_else(|| self.metrics_tls.clone())));
        self.picker.update(pool, transport);
        let reported = Some(PoolSummary { endpoints, warnings });
        if self.reported == reported {
            return;
        }
        let name = format!("InferencePool {}/{}", self.namespace.as_str(), self.name);
        match endpoints {
            Some(endpoints) => tracing::info!("{name} has {endpoints} ready endpoints"),
            None => tracing::warn!("no {name}: waiting for it; requests get 503"),
        }
        reported.iter().flat_map(|reported| &reported.warnings).for_each(|warning| tracing::warn!("{name}: {warning}"));
        self.reported = reported;
    }
}

/// TLS towards engines' metrics, as flags say it. Engines are named by their addresses.
fn metrics_tls(args: &PickerArgs) -> Option<Arc<UpstreamTls>> {
    (args.model_server_metrics_scheme == MetricsScheme::Https).then(|| {
        Arc::new(UpstreamTls {
            sni: "engine".into(),
            is_by_host: true,
            names: Vec::new(),
            roots: Roots::System,
            insecure_skip_verify: args.model_server_metrics_https_insecure_skip_verify,
            client_certificate: None,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
        })
    })
}
