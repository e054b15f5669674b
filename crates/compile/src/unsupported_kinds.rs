//! Statuses of objects that the gateway knows and does not serve.

use crate::{
    index::{Index, TrackedTable},
    parameters,
    policies::{
        policy_targets::{PolicyTargets, TargetedSpec},
        report::Reach,
        targets::TargetKind,
    },
    settings::Mode,
    status::{Problem, Severity, Statuses},
};
use pailou_api::{
    ObjectKey, Resource,
    envoy::{ENVOY_GROUP, envoy_proxy::EnvoyProxySpec, recognised::EnvoyExtensionPolicySpec},
    refs::{PolicyTargetReference, TargetSelector},
};

/// Judges what cannot be served.
pub(crate) fn report_all(index: &Index<'_>, reach: &Reach<'_, '_>, mode: Mode, statuses: &mut Statuses) {
    let mut extensions = PolicyTargets::<EnvoyExtensionPolicySpec>::new(index);
    extensions.claim(index);
    extensions.report(reach, statuses);
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

impl TargetedSpec for EnvoyExtensionPolicySpec {
    const KIND: &'static str = "EnvoyExtensionPolicy";
    const TARGETS: &'static [TargetKind] = TargetKind::ROUTING;
    type Settings = ();

    fn table<'t, 'a>(index: &'t Index<'a>) -> &'t TrackedTable<'a, Resource<Self>> {
        &index.extension_policies
    }

    fn targets(&self) -> Vec<PolicyTargetReference> {
        self.targets()
    }

    fn selectors(&self) -> &[TargetSelector] {
        &self.target_selectors
    }

    fn read(_index: &Index<'_>, _policy: &Resource<Self>) -> Result<(), Problem> {
        Ok(())
    }

    fn unenforced(policy: &Resource<Self>) -> Vec<&'static str> {
        policy.spec.unsupported()
    }
}
