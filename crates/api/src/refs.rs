//! References from one object to another.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::{GroupName, KindName, NamespaceName, ObjectName, SectionName};
use super::port::PortNumber;
use super::selector::{LabelRequirement, LabelSelector};

/// Gateway API's group.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

pub(crate) fn gateway_group() -> GroupName {
    GroupName::try_from(GATEWAY_GROUP).expect("the constant is a valid group")
}

pub(crate) fn core_group() -> GroupName {
    GroupName::try_from("").expect("the empty group is valid")
}

pub(crate) fn kind(name: &'static str) -> KindName {
    KindName::try_from(name).expect("a literal that is a valid kind")
}

pub(crate) fn gateway_kind() -> KindName {
    kind("Gateway")
}

pub(crate) fn service_kind() -> KindName {
    kind("Service")
}

fn secret_kind() -> KindName {
    kind("Secret")
}

pub(crate) fn one() -> u32 {
    1
}

/// A route's parent: a Gateway, a ListenerSet, or one section of either.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentReference {
    /// Group of the parent; Gateway API's by default.
    #[serde(default = "gateway_group")]
    pub group: GroupName,
    /// Kind of the parent; `Gateway` by default.
    #[serde(default = "gateway_kind")]
    pub kind: KindName,
    /// Namespace of the parent; the route's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<NamespaceName>,
    /// Name of the parent.
    pub name: ObjectName,
    /// A listener of that name only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<SectionName>,
    /// Listeners on that port only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortNumber>,
}

/// A backend without a weight: a mirror's target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct BackendObjectReference {
    /// Group; the core group by default.
    #[serde(default = "core_group")]
    pub group: GroupName,
    /// Kind; `Service` by default.
    #[serde(default = "service_kind")]
    pub kind: KindName,
    /// Namespace; the referrer's own when absent.
    #[serde(default)]
    pub namespace: Option<NamespaceName>,
    /// Name.
    pub name: ObjectName,
    /// Port; always there when the kind is Service.
    #[serde(default)]
    pub port: Option<PortNumber>,
}

/// A weighted backend of a TLS, TCP or UDP route.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BackendRef {
    /// Group; the core group by default.
    #[serde(default = "core_group")]
    pub group: GroupName,
    /// Kind; `Service` by default.
    #[serde(default = "service_kind")]
    pub kind: KindName,
    /// Namespace; the route's own when absent.
    #[serde(default)]
    pub namespace: Option<NamespaceName>,
    /// Name.
    pub name: ObjectName,
    /// Port; always there when the kind is Service.
    #[serde(default)]
    pub port: Option<PortNumber>,
    /// Share among the rule's backends, 0 to 1,000,000; 1 by default.
    #[serde(default = "one")]
    pub weight: u32,
}

impl BackendRef {
    /// A backend of weight 1.
    pub fn of(to: BackendObjectReference) -> Self {
        let BackendObjectReference { group, kind, namespace, name, port } = to;
        Self { group, kind, namespace, name, port, weight: one() }
    }

    /// Backends of a server by weight: `refs`, else the deprecated single one.
    pub fn of_server(single: Option<&BackendObjectReference>, refs: &[Self]) -> Vec<Self> {
        let single = single.filter(|_| refs.is_empty());
        single.cloned().map(Self::of).into_iter().chain(refs.iter().cloned()).collect()
    }

    /// The object, without the weight.
    pub fn target(&self) -> BackendObjectReference {
        BackendObjectReference {
            group: self.group.clone(),
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            port: self.port,
        }
    }
}

/// An object in the referrer's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct LocalObjectReference {
    /// Group.
    pub group: GroupName,
    /// Kind.
    pub kind: KindName,
    /// Name.
    pub name: ObjectName,
}

/// A key of an object in the referrer's own namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct LocalObjectKeyReference {
    /// Group; the core group by default.
    #[serde(default = "core_group")]
    pub group: GroupName,
    /// Kind.
    pub kind: KindName,
    /// Name.
    pub name: ObjectName,
    /// The key of its data.
    pub key: String,
}

/// An object that may be in another namespace, with nothing defaulted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct ObjectReference {
    /// Group.
    pub group: GroupName,
    /// Kind.
    pub kind: KindName,
    /// Namespace; the referrer's own when absent.
    #[serde(default)]
    pub namespace: Option<NamespaceName>,
    /// Name.
    pub name: ObjectName,
}

/// A Secret, or another kind that holds certificates or credentials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct SecretObjectReference {
    /// Group; the core group by default.
    #[serde(default = "core_group")]
    pub group: GroupName,
    /// Kind; `Secret` by default.
    #[serde(default = "secret_kind")]
    pub kind: KindName,
    /// Namespace; the referrer's own when absent.
    #[serde(default)]
    pub namespace: Option<NamespaceName>,
    /// Name.
    pub name: ObjectName,
}

/// Target of a policy: an object of its own namespace, or one section of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTargetReference {
    /// Group.
    pub group: GroupName,
    /// Kind.
    pub kind: KindName,
    /// Name.
    pub name: ObjectName,
    /// A listener, a rule or a Service port of that name only.
    #[serde(default)]
    pub section_name: Option<SectionName>,
}

/// Applies a policy to objects of a kind chosen by their labels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetSelector {
    /// Group; Gateway API's by default.
    #[serde(default = "gateway_group")]
    pub group: GroupName,
    /// Kind.
    pub kind: KindName,
    /// Labels that the target must have.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements on the target's labels.
    #[serde(default)]
    pub match_expressions: Vec<LabelRequirement>,
    /// Namespaces; the policy's own when absent.
    #[serde(default)]
    pub namespaces: Option<TargetNamespaces>,
}

impl TargetSelector {
    /// The requirements on the target's labels as one selector.
    pub fn selector(&self) -> LabelSelector {
        LabelSelector { match_labels: self.match_labels.clone(), match_expressions: self.match_expressions.clone() }
    }
}

/// The namespaces that a target selector looks into.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TargetNamespaces {
    /// Same (the default), all, or by selector.
    #[serde(default)]
    pub from: FromNamespaces,
    /// Labels of the namespaces when `from` is `Selector`.
    #[serde(default)]
    pub selector: Option<LabelSelector>,
}

/// Namespaces that objects may come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum FromNamespaces {
    /// Every namespace.
    All,
    /// Namespaces chosen by their labels.
    Selector,
    /// The object's own namespace.
    #[default]
    Same,
    /// No namespace (only for a Gateway's `allowedListeners`).
    None,
}
