//! Objects that could not be decoded, as far as they could be read: enough to tell those who look at them.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    Kind, Meta, NamespaceName, Object, ObjectKey, Resource,
    envoy::{backend_traffic_policy::BackendTrafficPolicySpec, security_policy::SecurityPolicySpec},
    inference_pool::InferencePoolVersion,
    parse::ParseError,
    refs::{ParentReference, PolicyTargetReference, TargetSelector},
};

/// The longest list of references that is read.
const MAX_REFERENCES: usize = 64;

/// An object that could not be decoded. The compiler's store keeps the version before it, if there was one.
#[derive(Clone, Debug, PartialEq)]
pub struct Undecodable {
    /// The object.
    pub key: ObjectKey,
    /// `metadata.generation`; 0 when the object comes from a file.
    pub generation: i64,
    /// Its errors, field by field.
    pub message: String,
    /// The references by which controllers tell whose status the object carries.
    pub concerns: Concerns,
}

/// References that decide which controller writes the object's conditions, by kind, as far as they can be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Concerns {
    /// A GatewayClass, by its `controllerName`.
    Class(Option<String>),
    /// A Gateway, by its class.
    Gateway(Option<String>),
    /// A ListenerSet, by its Gateway.
    Set(Option<ParentReference>),
    /// A route, by its parents.
    Route(Vec<ParentReference>),
    /// A policy of Envoy Gateway's, by its targets.
    Policy {
        /// `targetRef` and `targetRefs`.
        targets: Vec<PolicyTargetReference>,
        /// `targetSelectors`.
        selectors: Vec<TargetSelector>,
        /// A BackendTrafficPolicy has `rateLimit`.
        is_limit: bool,
    },
    /// A BackendTLSPolicy, by its targets.
    Backends(Vec<PolicyTargetReference>),
    /// An InferencePool, by the routes that lead to it.
    Pool(InferencePoolVersion),
    /// A kind that has just conditions.
    Itself,
}

impl Undecodable {
    /// Reads the readable part of an object; `None` if that does not identify it, and for kinds that have no status.
    /// `namespace` is that of objects that name none.
    pub fn new(object: &Value, namespace: &NamespaceName, errors: &[ParseError]) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let api_version = object["apiVersion"].as_str()?;
        let (group, _) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let kind = Kind::find(group, object["kind"].as_str()?)?;
        let group = kind.groups().iter().find(|known| **known == group)?;
        let concerns = concerns(kind, group, &object["spec"])?;
        let metadata = &object["metadata"];
        let namespace = match kind.is_namespaced() {
            true => text(&metadata["namespace"]).unwrap_or_else(|| namespace.as_str().to_owned()),
            false => String::new(),
        };
        let key = ObjectKey::new(*group, kind.name(), namespace, text(&metadata["name"])?);
        let message = errors.iter().map(problem).collect::<Vec<_>>().join("; ");
        Some(Self { key, generation: metadata["generation"].as_i64().unwrap_or_default(), message, concerns })
    }

    /// A SecurityPolicy, or a BackendTrafficPolicy with limits, with the targets of one that did not decode, which closes them: what it was
    /// to protect must not be open. `None` for others.
    pub fn closing_policy(&self) -> Option<Object> {
        let Concerns::Policy { targets, selectors, is_limit } = &self.concerns else { return None };
        let meta = Meta { name: self.key.name.clone(), namespace: self.key.namespace.clone(), ..Meta::default() };
        let (target_refs, target_selectors) = (targets.clone(), selectors.clone());
        let undecodable = Some(self.message.clone());
        if *is_limit {
            let spec =
                BackendTrafficPolicySpec { target_refs, target_selectors, undecodable, ..BackendTrafficPolicySpec::default() };
            return Some(Object::BackendTrafficPolicy(Arc::new(Resource { meta, spec })));
        }
        let spec = SecurityPolicySpec { target_refs, target_selectors, undecodable, ..SecurityPolicySpec::default() };
        (self.key.kind == Kind::SecurityPolicy.name()).then(|| Object::SecurityPolicy(Arc::new(Resource { meta, spec })))
    }

    /// Whether it says whom it concerns: without that no condition can be put anywhere, unless it was served before.
    pub fn says_whom_it_concerns(&self) -> bool {
        match &self.concerns {
            Concerns::Class(name) | Concerns::Gateway(name) => name.is_some(),
            Concerns::Set(parent) => parent.is_some(),
            Concerns::Route(parents) => !parents.is_empty(),
            Concerns::Policy { targets, selectors, .. } => !targets.is_empty() || !selectors.is_empty(),
            Concerns::Backends(targets) => !targets.is_empty(),
            Concerns::Pool(_) | Concerns::Itself => true,
        }
    }
}

impl Object {
    /// Whether it stands in for a policy that did not decode ([`Undecodable::closing_policy`]).
    pub fn is_closing_policy(&self) -> bool {
        match self {
            Self::SecurityPolicy(policy) => policy.spec.undecodable.is_some(),
            Self::BackendTrafficPolicy(policy) => policy.spec.undecodable.is_some(),
            _ => false,
        }
    }
}

fn concerns(kind: Kind, group: &str, spec: &Value) -> Option<Concerns> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some(match kind {
        Kind::GatewayClass => Concerns::Class(text(&spec["controllerName"])),
        Kind::Gateway => Concerns::Gateway(text(&spec["gatewayClassName"])),
        Kind::ListenerSet => Concerns::Set(read(&spec["parentRef"])),
        Kind::HttpRoute | Kind::GrpcRoute | Kind::TlsRoute | Kind::TcpRoute | Kind::UdpRoute => {
            Concerns::Route(list(&spec["parentRefs"]))
        }
        Kind::ClientTrafficPolicy | Kind::BackendTrafficPolicy | Kind::SecurityPolicy | Kind::EnvoyExtensionPolicy => {
            let targets = read(&spec["targetRef"]).into_iter().chain(list(&spec["targetRefs"])).collect();
            let is_limit = kind == Kind::BackendTrafficPolicy && !spec["rateLimit"].is_null();
            Concerns::Policy { targets, selectors: list(&spec["targetSelectors"]), is_limit }
        }
        Kind::BackendTlsPolicy => Concerns::Backends(list(&spec["targetRefs"])),
        Kind::InferencePool => {
            let versions = [InferencePoolVersion::V1, InferencePoolVersion::V1Alpha2];
            Concerns::Pool(versions.into_iter().find(|version| version.group() == group)?)
        }
        _ if kind.has_status() => Concerns::Itself,
        _ => return None,
    })
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// Those of a list that can be read.
fn list<T: DeserializeOwned>(value: &Value) -> Vec<T> {
    value.as_array().into_iter().flatten().take(MAX_REFERENCES).filter_map(read).collect()
}

/// An error without the object's name, which whoever reads the status knows.
fn problem(error: &ParseError) -> String {
    match &error.path {
        Some(path) => format!("{path}: {}", error.problem),
        None => error.problem.to_string(),
    }
}
