//! Parameters of the proxies: whether they can be had, and what of them is not acted on.

use std::{path::Path, sync::Arc};

use crate::{
    status::{Condition, Problem},
    store::Store,
};
use pailou_api::{
    EnvoyProxy, Gateway, GatewayClass, Kind,
    envoy::{
        ENVOY_GROUP,
        envoy_proxy::{EnvoyProxySpec, GeoIpDbSource},
        telemetry::ProxyTelemetry,
    },
};
use pailou_snapshot::GeoSources;

use super::{
    index::Index,
    settings::Mode,
    warnings::PARTIALLY_SUPPORTED,
    wrong_kind::{self, Named},
};

/// The reason of `Accepted` where parameters cannot be had. Source: Gateway API.
const INVALID_PARAMETERS: &str = "InvalidParameters";
const OWN: &str = "spec.infrastructure.parametersRef";
const CLASS: &str = "spec.parametersRef";

/// Parameters of a Gateway's proxies: its own, merged with its class's by its own `mergeType`. Parameters that cannot be had
/// count as none: see `refuse_gateway`.
pub fn parameters(store: &Store, gateway: &Gateway) -> EnvoyProxySpec {
    let class = store.find::<GatewayClass>("", &gateway.spec.gateway_class_name);
    let find = |reference: Reference<'_>| {
        let place = reference.place()?;
        store.find::<EnvoyProxy>(place.0, place.1).map(|proxy| proxy.spec.clone())
    };
    let base = class.and_then(|class| Reference::of_class(class)).and_then(find);
    let own = Reference::of_gateway(gateway).and_then(find);
    match (base, own) {
        (Some(base), Some(own)) => own.over(base),
        (base, own) => own.or(base).unwrap_or_default(),
    }
}

/// Databases of the places of addresses that a Gateway's parameters name, or else its class's, with a cluster and without.
pub(crate) fn geo_sources(index: &Index<'_>, gateway: &Gateway) -> Option<Arc<GeoSources>> {
    let own = Reference::of_gateway(gateway).and_then(|it| it.find(index));
    let class = || Reference::of_class(index.classes.get("", &gateway.spec.gateway_class_name)?)?.find(index);
    let proxy = own.filter(|own| own.spec.geo_ip.is_some() || own.spec.replaces()).or_else(class)?;
    let files = proxy.spec.geo_ip.as_ref()?.provider.max_mind.as_ref()?;
    let file = |source: &Option<GeoIpDbSource>| source.as_ref().map(|it| Arc::from(Path::new(&it.local.path)));
    Some(Arc::new(GeoSources {
        city: file(&files.city_db_source),
        country: file(&files.country_db_source),
        asn: file(&files.asn_db_source),
        isp: file(&files.isp_db_source),
        anonymous: file(&files.anonymous_ip_db_source),
    }))
}

/// The EnvoyProxy whose traces a Gateway has.
pub(crate) fn tracing<'o>(index: &Index<'o>, gateway: &Gateway) -> Option<&'o EnvoyProxy> {
    with_telemetry(index, gateway, |telemetry| telemetry.tracing.is_some())
}

/// The EnvoyProxy whose access logs a Gateway has.
pub(crate) fn access_log<'o>(index: &Index<'o>, gateway: &Gateway) -> Option<&'o EnvoyProxy> {
    with_telemetry(index, gateway, |telemetry| telemetry.access_log.is_some())
}

/// The EnvoyProxy whose metrics a Gateway has.
pub(crate) fn metrics<'o>(index: &Index<'o>, gateway: &Gateway) -> Option<&'o EnvoyProxy> {
    with_telemetry(index, gateway, |telemetry| telemetry.metrics.is_some())
}

/// A Gateway's own EnvoyProxy where it has a part of telemetry, or else its class's, with a cluster and without.
fn with_telemetry<'o>(index: &Index<'o>, gateway: &Gateway, has: impl Fn(&ProxyTelemetry) -> bool) -> Option<&'o EnvoyProxy> {
    let own = Reference::of_gateway(gateway).and_then(|it| it.find(index));
    let class = || Reference::of_class(index.classes.get("", &gateway.spec.gateway_class_name)?)?.find(index);
    own.filter(|own| own.spec.telemetry.as_ref().is_some_and(&has) || own.spec.replaces()).or_else(class)
}

/// Parameters, as a Gateway or its class names them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> Reference<'a> {
    /// A Gateway's own.
    pub(crate) fn of_gateway(gateway: &'a Gateway) -> Option<Self> {
        let it = gateway.spec.infrastructure.as_ref()?.parameters_ref.as_ref()?;
        Some(Self { group: &it.group, kind: &it.kind, namespace: &gateway.meta.namespace, name: &it.name })
    }

    /// A class's.
    pub(crate) fn of_class(class: &'a GatewayClass) -> Option<Self> {
        let it = class.spec.parameters_ref.as_ref()?;
        let namespace = it.namespace.as_deref().unwrap_or_default();
        Some(Self { group: &it.group, kind: &it.kind, namespace, name: &it.name })
    }

    /// The EnvoyProxy that is meant.
    pub(crate) fn find<'o>(&self, index: &Index<'o>) -> Option<&'o EnvoyProxy> {
        let (namespace, name) = self.place()?;
        index.proxies.get(namespace, name)
    }

    /// Namespace and name, where the kind is known.
    fn place(&self) -> Option<(&'a str, &'a str)> {
        (self.group == ENVOY_GROUP && self.kind == "EnvoyProxy").then_some((self.namespace, self.name))
    }

    /// Why the parameters cannot be had.
    fn problem(&self, index: &Index<'_>) -> Option<String> {
        let Self { kind, namespace, name, .. } = self;
        match (self.place(), self.find(index)) {
            (None, _) => {
                let named = Named { group: self.group, kind, name };
                Some(wrong_kind::message(named, &[Kind::EnvoyProxy]))
            }
            (_, Some(_)) => None,
            _ if namespace.is_empty() => Some(format!("EnvoyProxy {name} is in a namespace: name it")),
            _ => Some(format!("there is no EnvoyProxy {name} in namespace {namespace}")),
        }
    }

    /// Names what of the parameters is not acted on.
    fn ignored(&self, index: &Index<'_>, mode: Mode) -> Option<String> {
        let proxy = self.find(index)?;
        let Self { namespace, name, .. } = self;
        match (mode, unsupported(proxy)) {
            (Mode::Standalone, _) => Some(format!("EnvoyProxy {namespace}/{name} {}", without_cluster(proxy))),
            (Mode::Cluster, fields) if fields.is_empty() => None,
            (Mode::Cluster, fields) => Some(format!("EnvoyProxy {namespace}/{name}: not acted on: {}", fields.join(", "))),
        }
    }
}

/// Fields of an EnvoyProxy that are acted on without a cluster.
pub(crate) fn without_cluster(proxy: &EnvoyProxy) -> String {
    let text = "is about proxies in a cluster: without one nothing but its geoIP, telemetry.accessLog, telemetry.metrics and telemetry.tracing is acted on";
    let mut fields = unsupported(proxy);
    fields.retain(|path| {
        ["spec.telemetry.accessLog.", "spec.telemetry.metrics.", "spec.telemetry.tracing."]
            .iter()
            .any(|known| path.starts_with(known))
    });
    if fields.is_empty() { text.to_owned() } else { format!("{text}, and of those not {}", fields.join(", ")) }
}

/// The paths of an EnvoyProxy's fields that are set and that not even a cluster's controller acts on.
pub(crate) fn unsupported(proxy: &EnvoyProxy) -> Vec<String> {
    proxy.spec.unsupported().iter().map(|path| format!("spec.{path}")).collect()
}

/// In a cluster the parameters shape the data plane, so that missing ones, or ones of an unknown kind, leave nothing to
/// provision: nobody knows what they would have prevented (an address for all the world, say). Without a cluster they have no
/// effect, and get a warning.
pub(crate) fn refuse_gateway(index: &Index<'_>, gateway: &Gateway, mode: Mode) -> Option<Problem> {
    if mode != Mode::Cluster {
        return None;
    }
    let refused = |place: String, problem| Problem::accepted(INVALID_PARAMETERS, format!("{place}: {problem}"));
    let own = Reference::of_gateway(gateway);
    if let Some(problem) = own.and_then(|it| it.problem(index)) {
        return Some(refused(OWN.to_owned(), problem));
    }
    // If the Gateway's own replace them, the class's do not matter.
    if own.and_then(|it| it.find(index)).is_some_and(|proxy| proxy.spec.replaces()) {
        return None;
    }
    let class = index.classes.get("", &gateway.spec.gateway_class_name)?;
    let problem = Reference::of_class(class)?.problem(index)?;
    Some(refused(format!("GatewayClass {}, {CLASS}", class.meta.name), problem))
}

/// Warning about unsupported fields of a Gateway's own parameters.
pub(crate) fn warn_gateway(index: &Index<'_>, gateway: &Gateway, mode: Mode) -> Option<Condition> {
    warn(index, Reference::of_gateway(gateway)?, mode, OWN, gateway.meta.generation)
}

/// Whether a class's parameters can be had, and what of them is not acted on.
pub(crate) fn judge_class(index: &Index<'_>, class: &GatewayClass, mode: Mode) -> Vec<Condition> {
    let generation = class.meta.generation;
    let Some(reference) = Reference::of_class(class) else { return vec![Condition::fine("Accepted", generation)] };
    let accepted = match reference.problem(index).filter(|_| mode == Mode::Cluster) {
        Some(problem) => Condition::fails("Accepted", INVALID_PARAMETERS, format!("{CLASS}: {problem}"), generation),
        None => Condition::fine("Accepted", generation),
    };
    std::iter::once(accepted).chain(warn(index, reference, mode, CLASS, generation)).collect()
}

fn warn(index: &Index<'_>, reference: Reference<'_>, mode: Mode, field: &str, generation: i64) -> Option<Condition> {
    let message = match reference.problem(index) {
        // It is refused for that.
        Some(_) if mode == Mode::Cluster => return None,
        Some(problem) => problem,
        None => reference.ignored(index, mode)?,
    };
    Some(Condition::holds(PARTIALLY_SUPPORTED, "UnsupportedParameters", format!("{field}: {message}"), generation))
}
