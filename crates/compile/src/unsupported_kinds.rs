//! Statuses of objects that the gateway knows and does not serve.

use crate::{
    index::Index,
    parameters,
    settings::Mode,
    status::{Severity, Statuses},
};
use pailou_api::{
    Kind, Meta, ObjectKey,
    envoy::{ENVOY_GROUP, envoy_proxy::EnvoyProxySpec},
};

/// Kinds of which nothing is served: severity, and what to do instead.
const UNSUPPORTED: [(Kind, Severity, &str); 3] = [
    (Kind::EnvoyPatchPolicy, Severity::Error, "patches Envoy's own configuration: there is no Envoy here, and nothing is done"),
    (
        Kind::InferenceTrafficPolicy,
        Severity::Warning,
        "not acted on: pools are served by the annotations routing-strategy and model-server-runtime (inference.networking.x-k8s.io/) and \
         pailou.dev/kv-events-port, kv-connector; write those on the InferencePool",
    ),
    (
        Kind::AckTrafficFilter,
        Severity::Warning,
        "contents are not checked, and a rule with an ExtensionRef to it answers 500; write an EnvoyExtensionPolicy with extProc to a server \
         that checks them",
    ),
];

/// The reason for which objects of a kind have no effect at all; `None` where they have one.
pub fn unsupported_kind(kind: Kind) -> Option<&'static str> {
    UNSUPPORTED.iter().find(|(known, ..)| *known == kind).map(|(.., message)| *message)
}

/// Judges what cannot be served.
pub(crate) fn report_all(index: &Index<'_>, mode: Mode, statuses: &mut Statuses) {
    let mut note = |kind: Kind, meta: &Meta| {
        let key = ObjectKey::new(kind.groups()[0], kind.name(), &meta.namespace, &meta.name);
        if let Some((_, severity, message)) = UNSUPPORTED.iter().find(|(known, ..)| *known == kind) {
            statuses.note(key, *severity, *message);
        }
    };
    index.patch_policies.iter().for_each(|it| note(Kind::EnvoyPatchPolicy, &it.meta));
    index.inference_traffic_policies.iter().for_each(|it| note(Kind::InferenceTrafficPolicy, &it.meta));
    index.ack_filters.iter().for_each(|it| note(Kind::AckTrafficFilter, &it.meta));
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
