//! References that lead a Gateway's proxies from one object to another: one visitor for each kind.
//!
//! The compiler resolves them, and `reach` follows the same ones to tell which objects a proxy is given. A field that refers to an object
//! has a line in its kind's visitor. Targets of policies and `parentRefs` lead the other way and are not among them.

mod objects;
mod routes;

use crate::{
    Gateway, PortNumber,
    ai_gateway::{
        AI_GATEWAY_GROUP,
        gateway_config::{GATEWAY_CONFIG_ANNOTATION, MODEL_PRICES_ANNOTATION},
    },
    core_v1::cluster_trust_bundle::CERTIFICATES_GROUP,
    envoy::body::CustomResponseBody,
    object::Kind,
    refs::{
        BackendObjectReference, BackendRef, GATEWAY_GROUP, LocalObjectKeyReference, LocalObjectReference, ObjectReference,
        SecretObjectReference,
    },
};

/// Object that refers, as a ReferenceGrant names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Referrer<'a> {
    /// Its API group.
    pub group: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
}

/// Object that is referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Referent<'a> {
    /// Its API group.
    pub group: &'a str,
    /// Its kind.
    pub kind: &'a str,
    /// Its namespace; empty for kinds of a cluster, to which no grant is needed.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// Reference to a kind that its field can refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The object that has the field.
    pub from: Referrer<'a>,
    /// The object that the field names.
    pub to: Referent<'a>,
    /// The kind of that object.
    pub kind: Kind,
    /// The port that the field names.
    pub port: Option<PortNumber>,
}

/// Objects that refer to others.
pub trait References {
    /// Visits every reference, in the order of fields. One that names a kind which its field cannot refer to is left out.
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>));
}

fn of_gateway(gateway: &Gateway) -> Referrer<'_> {
    Referrer { group: GATEWAY_GROUP, kind: "Gateway", namespace: &gateway.meta.namespace }
}

/// Kinds that a field can refer to.
const BACKENDS: &[Kind] = &[Kind::Service, Kind::Backend, Kind::InferencePool];
const AUTHORITIES: &[Kind] = &[Kind::ConfigMap, Kind::Secret, Kind::ClusterTrustBundle];

impl<'a> Reference<'a> {
    /// A `backendRef`.
    pub fn backend(from: Referrer<'a>, to: &'a BackendObjectReference) -> Option<Self> {
        let reference = Self::new(from, (&to.group, &to.kind), to.namespace.as_deref(), &to.name, BACKENDS)?;
        Some(Self { port: to.port, ..reference })
    }

    /// A weighted `backendRef`.
    pub fn weighted(from: Referrer<'a>, to: &'a BackendRef) -> Option<Self> {
        let reference = Self::new(from, (&to.group, &to.kind), to.namespace.as_deref(), &to.name, BACKENDS)?;
        Some(Self { port: to.port, ..reference })
    }

    /// A Secret.
    pub fn secret(from: Referrer<'a>, to: &'a SecretObjectReference) -> Option<Self> {
        Self::new(from, (&to.group, &to.kind), to.namespace.as_deref(), &to.name, &[Kind::Secret])
    }

    /// Authorities, perhaps of another namespace.
    pub fn authorities(from: Referrer<'a>, to: &'a ObjectReference) -> Option<Self> {
        Self::new(from, (&to.group, &to.kind), to.namespace.as_deref(), &to.name, AUTHORITIES)
    }

    /// Authorities, by a reference whose defaults are a Secret's.
    pub fn client_authorities(from: Referrer<'a>, to: &'a SecretObjectReference) -> Option<Self> {
        Self::new(from, (&to.group, &to.kind), to.namespace.as_deref(), &to.name, AUTHORITIES)
    }

    /// A list of revoked certificates.
    pub fn revocation_list(from: Referrer<'a>, to: &'a SecretObjectReference) -> Option<Self> {
        Self::new(from, (&to.group, &to.kind), to.namespace.as_deref(), &to.name, &[Kind::ConfigMap, Kind::Secret])
    }

    /// Authorities of the same namespace.
    pub fn local_authorities(from: Referrer<'a>, to: &'a LocalObjectReference) -> Option<Self> {
        Self::new(from, (&to.group, &to.kind), None, &to.name, AUTHORITIES)
    }

    /// The ConfigMap of a response's body; `None` for an inline body.
    pub fn custom_body(from: Referrer<'a>, body: &'a CustomResponseBody) -> Option<Self> {
        match body {
            CustomResponseBody::Inline(_) => None,
            CustomResponseBody::ValueRef(to) => Self::new(from, ("", "ConfigMap"), None, &to.name, &[Kind::ConfigMap]),
        }
    }

    /// A key of a ConfigMap or Secret of the same namespace.
    pub fn local_key(from: Referrer<'a>, to: &'a LocalObjectKeyReference) -> Option<Self> {
        Self::new(from, (&to.group, &to.kind), None, &to.name, &[Kind::ConfigMap, Kind::Secret])
    }

    /// A Gateway's GatewayConfig, by its annotation.
    pub fn gateway_config(gateway: &'a Gateway) -> Option<Self> {
        let name = gateway.meta.annotation(GATEWAY_CONFIG_ANNOTATION).map(str::trim).filter(|name| !name.is_empty())?;
        let kind = (AI_GATEWAY_GROUP, "GatewayConfig");
        Self::new(of_gateway(gateway), kind, None, name, &[Kind::GatewayConfig])
    }

    /// ConfigMaps with prices of a Gateway's models, by its annotation, in order.
    pub fn model_prices(gateway: &'a Gateway) -> impl Iterator<Item = Self> {
        let names = gateway.meta.annotation(MODEL_PRICES_ANNOTATION).unwrap_or_default().split(',').map(str::trim);
        let from = of_gateway(gateway);
        names
            .filter(|name| !name.is_empty())
            .filter_map(move |name| Self::new(from, ("", "ConfigMap"), None, name, &[Kind::ConfigMap]))
    }

    /// An object of the same namespace.
    pub fn local(from: Referrer<'a>, to: &'a LocalObjectReference, kind: Kind) -> Option<Self> {
        Self::new(from, (&to.group, &to.kind), None, &to.name, &[kind])
    }

    fn new(
        from: Referrer<'a>,
        (group, kind): (&'a str, &'a str),
        namespace: Option<&'a str>,
        name: &'a str,
        kinds: &[Kind],
    ) -> Option<Self> {
        let found = Kind::find(group, kind).filter(|kind| kinds.contains(kind))?;
        let namespace = if group == CERTIFICATES_GROUP { "" } else { namespace.unwrap_or(from.namespace) };
        Some(Self { from, to: Referent { group, kind, namespace, name }, kind: found, port: None })
    }
}
