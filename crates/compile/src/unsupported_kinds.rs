//! Objects that are known and not served: what is said of them.

use crate::status::{Condition, Severity, Statuses};
use pailou_api::{
    EnvoyExtensionPolicy, ObjectKey,
    envoy::{ENVOY_GROUP, envoy_proxy::EnvoyProxySpec},
};

use super::{
    ids::{ById, PolicyId},
    index::Index,
    parameters,
    policies::{
        report::{Reach, report},
        targets::{Claims, DeclaredTargets, TargetKind},
    },
    settings::Mode,
    warnings,
};

/// Judges what cannot be served.
pub(crate) fn report_all(index: &Index<'_>, reach: &Reach<'_, '_>, mode: Mode, statuses: &mut Statuses) {
    extension_policies(index, reach, statuses);
    for policy in index.patch_policies.iter() {
        let key = ObjectKey::new(ENVOY_GROUP, "EnvoyPatchPolicy", &policy.meta.namespace, &policy.meta.name);
        statuses.note(key, Severity::Error, "patches Envoy's own configuration: there is no Envoy here, and nothing is done");
    }
    for proxy in index.proxies.iter() {
        let key = ObjectKey::new(ENVOY_GROUP, "EnvoyProxy", &proxy.meta.namespace, &proxy.meta.name);
        let fields = parameters::unsupported(proxy);
        match mode {
            Mode::Standalone if proxy.spec != EnvoyProxySpec::default() => {
                statuses.note(key, Severity::Warning, "is about proxies in a cluster: without one it is not acted on");
            }
            Mode::Cluster if !fields.is_empty() => {
                statuses.note(key, Severity::Warning, format!("not acted on: {}", fields.join(", ")));
            }
            _ => {}
        }
    }
}

fn extension_policies(index: &Index<'_>, reach: &Reach<'_, '_>, statuses: &mut Statuses) {
    let policies: ById<PolicyId, &EnvoyExtensionPolicy> = index.extension_policies.iter().collect();
    let asked = policies.iter().map(|(_, policy)| DeclaredTargets {
        meta: &policy.meta,
        refs: policy.spec.targets(),
        selectors: &policy.spec.target_selectors,
    });
    let claims = Claims::new(index, TargetKind::ROUTING, asked);
    for (id, policy) in policies.iter() {
        let meta = &policy.meta;
        let key = ObjectKey::new(ENVOY_GROUP, "EnvoyExtensionPolicy", &meta.namespace, &meta.name);
        let conditions = |_: &_| {
            let warning = warnings::unsupported(policy.spec.unsupported(), meta.generation);
            std::iter::once(Condition::fine("Accepted", meta.generation)).chain(warning).collect()
        };
        report(reach, &claims, id, (key, meta.generation), conditions, statuses);
    }
}
