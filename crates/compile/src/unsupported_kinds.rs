//! Statuses of objects that the gateway knows and does not serve.

use crate::{
    index::Index,
    parameters,
    settings::Mode,
    status::{Severity, Statuses},
};
use pailou_api::{
    ObjectKey,
    envoy::{ENVOY_GROUP, envoy_proxy::EnvoyProxySpec},
};

/// Judges what cannot be served.
pub(crate) fn report_all(index: &Index<'_>, mode: Mode, statuses: &mut Statuses) {
    for policy in index.patch_policies.iter() {
        let key = ObjectKey::new(ENVOY_GROUP, "EnvoyPatchPolicy", &policy.meta.namespace, &policy.meta.name);
        statuses.note(key, Severity::Error, "patches Envoy's own configuration: there is no Envoy here, and nothing is done");
    }
    for proxy in index.proxies.iter() {
        let key = ObjectKey::new(ENVOY_GROUP, "EnvoyProxy", &proxy.meta.namespace, &proxy.meta.name);
        let fields = parameters::unsupported(proxy);
        match mode {
            Mode::Standalone if proxy.spec != EnvoyProxySpec::default() => {
                statuses.note(key, Severity::Warning, parameters::without_cluster(proxy));
            }
            Mode::Cluster if !fields.is_empty() => {
                statuses.note(key, Severity::Warning, format!("not acted on: {}", fields.join(", ")));
            }
            _ => {}
        }
    }
}
