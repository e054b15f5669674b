//! Objects that are known and not served: what is said of them.

use crate::{
    resources::{
        EnvoyExtensionPolicy, ObjectKey,
        envoy::ENVOY_GROUP,
        refs::{GATEWAY_GROUP, ParentReference},
    },
    status::{Condition, ParentStatus, Severity, StatusBody, Statuses},
};

use super::{
    gateway::Gateways,
    index::Index,
    policies::{
        report::{Reach, report},
        targets::{Asked, Claims, TargetKind},
    },
    warnings,
};

/// Judges what cannot be served.
pub(crate) fn report_all(index: &Index<'_>, reach: &Reach<'_, '_>, statuses: &mut Statuses) {
    for route in index.tls_routes.iter() {
        connection_route("TLSRoute", &route.meta, &route.spec.parent_refs, reach.gateways, statuses);
    }
    for route in index.tcp_routes.iter() {
        connection_route("TCPRoute", &route.meta, &route.spec.parent_refs, reach.gateways, statuses);
    }
    for route in index.udp_routes.iter() {
        connection_route("UDPRoute", &route.meta, &route.spec.parent_refs, reach.gateways, statuses);
    }
    extension_policies(index, reach, statuses);
    for policy in index.patch_policies.iter() {
        let key = ObjectKey::new(ENVOY_GROUP, "EnvoyPatchPolicy", &policy.meta.namespace, &policy.meta.name);
        statuses.note(key, Severity::Error, "patches Envoy's own configuration: there is no Envoy here, and nothing is done");
    }
    for proxy in index.proxies.iter() {
        let key = ObjectKey::new(ENVOY_GROUP, "EnvoyProxy", &proxy.meta.namespace, &proxy.meta.name);
        let fields = proxy.spec.unsupported();
        if !fields.is_empty() {
            statuses.note(key, Severity::Warning, format!("describes an Envoy deployment; not acted on: {}", fields.join(", ")));
        }
    }
}

fn connection_route(
    kind: &'static str,
    meta: &crate::resources::Meta,
    parents: &[ParentReference],
    gateways: &Gateways<'_>,
    statuses: &mut Statuses,
) {
    let key = ObjectKey::new(GATEWAY_GROUP, kind, &meta.namespace, &meta.name);
    let message = format!("{kind}s are not implemented yet: no listener takes them");
    let ours = parents.iter().filter(|parent| parent.group == GATEWAY_GROUP && parent.kind == "Gateway").filter_map(|parent| {
        let namespace = parent.namespace.as_deref().unwrap_or(&meta.namespace);
        let controller = gateways.list[gateways.find(namespace, &parent.name)?].controller;
        Some(ParentStatus {
            parent_ref: parent.clone(),
            controller_name: controller.to_owned(),
            conditions: vec![
                Condition::fails("Accepted", "NotAllowedByListeners", message.clone(), meta.generation),
                Condition::fine("ResolvedRefs", meta.generation),
            ],
        })
    });
    let parents: Vec<_> = ours.collect();
    if parents.is_empty() {
        statuses.note(key, Severity::Error, message);
    } else {
        statuses.set(key, StatusBody::Route { parents });
    }
}

fn extension_policies(index: &Index<'_>, reach: &Reach<'_, '_>, statuses: &mut Statuses) {
    let policies: Vec<&EnvoyExtensionPolicy> = index.extension_policies.iter().collect();
    let asked = policies.iter().map(|policy| Asked {
        meta: &policy.meta,
        refs: policy.spec.targets(),
        selectors: &policy.spec.target_selectors,
    });
    let claims = Claims::new(index, TargetKind::ROUTING, asked);
    for (place, policy) in policies.iter().enumerate() {
        let meta = &policy.meta;
        let key = ObjectKey::new(ENVOY_GROUP, "EnvoyExtensionPolicy", &meta.namespace, &meta.name);
        let conditions = |_: &_| {
            let warning = warnings::unsupported(policy.spec.unsupported(), meta.generation);
            std::iter::once(Condition::fine("Accepted", meta.generation)).chain(warning).collect()
        };
        report(reach, &claims, place, (key, meta.generation), conditions, statuses);
    }
}
