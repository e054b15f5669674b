//! Statuses by kind of object, as they stand under `status` in Kubernetes.

use serde::Serialize;

use super::{Condition, Severity};
use pailou_api::refs::ParentReference;
use pailou_snapshot::Name;

/// Status of one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// `status`, as Kubernetes keeps it.
    #[serde(flatten)]
    pub body: StatusBody,
    /// Notes without a place in Kubernetes' status, for instance that no object refers to this one.
    #[serde(skip)]
    pub notes: Vec<Note>,
}

/// A remark outside of conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// How bad it is.
    pub severity: Severity,
    /// Problem and remedy.
    pub message: String,
}

/// `status` by kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(untagged)]
pub enum StatusBody {
    /// Kinds without a status (Secret, Service, ReferenceGrant and so on), and objects that are not this gateway's to judge.
    #[default]
    None,
    /// GatewayClass.
    Class(ClassStatus),
    /// Gateway, and ListenerSet, which has no addresses.
    Gateway(GatewayStatus),
    /// HTTPRoute, GRPCRoute.
    Route {
        /// By parent reference.
        parents: Vec<ParentStatus>,
    },
    /// Policies: by the Gateways that they reach, at most 16.
    Policy {
        /// By Gateway.
        ancestors: Vec<AncestorStatus>,
    },
    /// InferencePool v1.
    Pool {
        /// By Gateway.
        parents: Vec<PoolParentStatus>,
    },
    /// InferencePool v1alpha2.
    PoolV1Alpha2 {
        /// By Gateway.
        parent: Vec<PoolParentStatus>,
    },
    /// Kinds that have just conditions: Backend, InferenceModel, InferenceObjective, InferenceModelRewrite.
    Conditions(ConditionList),
}

/// A bare list of conditions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ConditionList {
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// `status` of a GatewayClass.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassStatus {
    /// `Accepted`, and in a cluster `SupportedVersion`.
    pub conditions: Vec<Condition>,
    /// Gateway API's names of what is implemented, sorted.
    pub supported_features: Vec<SupportedFeature>,
}

/// A feature by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SupportedFeature {
    /// The name.
    pub name: &'static str,
}

/// `status` of a Gateway or ListenerSet.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Its addresses; a ListenerSet has none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<GatewayAddress>,
    /// `Accepted`, `Programmed`, and `ResolvedRefs` where the Gateway itself refers to something.
    pub conditions: Vec<Condition>,
    /// By listener, in the order of `spec.listeners`.
    pub listeners: Vec<ListenerStatus>,
    /// ListenerSets that were accepted; only a Gateway has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_listener_sets: Option<u32>,
}

/// Whether two statuses of one object say the same but for how many routes, or ListenerSets, are attached.
pub fn differ_by_counts(a: &Status, b: &Status) -> bool {
    let (StatusBody::Gateway(first), StatusBody::Gateway(second)) = (&a.body, &b.body) else { return false };
    let are_alike = |(a, b): (&ListenerStatus, &ListenerStatus)| {
        a.name == b.name && a.supported_kinds == b.supported_kinds && a.conditions == b.conditions
    };
    a.notes == b.notes
        && first.addresses == second.addresses
        && first.conditions == second.conditions
        && first.listeners.len() == second.listeners.len()
        && first.listeners.iter().zip(&second.listeners).all(are_alike)
}

/// An address at which a Gateway is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GatewayAddress {
    /// `IPAddress` or `Hostname`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The address.
    pub value: String,
    /// From where it is reached: `Cluster` is an address of the Service network, and an empty text says nothing. `None` outside a
    /// cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routability: Option<&'static str>,
}

impl GatewayAddress {
    /// An IP address.
    pub fn ip(address: std::net::IpAddr) -> Self {
        Self { kind: "IPAddress", value: address.to_string(), routability: None }
    }

    /// A DNS name, such as a load balancer's.
    pub fn hostname(name: impl Into<String>) -> Self {
        Self { kind: "Hostname", value: name.into(), routability: None }
    }

    /// The same address with what is known of who can reach it.
    pub fn reached_from(self, routability: &'static str) -> Self {
        Self { routability: Some(routability), ..self }
    }
}

/// Status of one listener.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// The listener's name.
    pub name: String,
    /// Kinds of routes that may attach.
    pub supported_kinds: Vec<GroupKind>,
    /// Routes that are accepted on it.
    pub attached_routes: u32,
    /// `Accepted`, `Conflicted`, `Programmed`, `ResolvedRefs`.
    pub conditions: Vec<Condition>,
}

/// A kind of an API group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupKind {
    /// The group.
    pub group: &'static str,
    /// The kind.
    pub kind: &'static str,
}

/// Status of a route towards one of its parents.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    /// The reference as the route has it.
    pub parent_ref: ParentReference,
    /// Controller that wrote the entry.
    pub controller_name: String,
    /// `Accepted`, `ResolvedRefs`.
    pub conditions: Vec<Condition>,
}

/// Status of a policy towards one Gateway.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AncestorStatus {
    /// The Gateway, or a listener of it.
    pub ancestor_ref: SectionReference,
    /// Controller that wrote the entry.
    pub controller_name: String,
    /// `Accepted` and others.
    pub conditions: Vec<Condition>,
}

/// An object, or a section of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SectionReference {
    /// API group.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// A listener of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

impl SectionReference {
    /// A whole Gateway.
    pub(crate) fn gateway(name: &Name) -> Self {
        Self {
            group: pailou_api::refs::GATEWAY_GROUP,
            kind: "Gateway",
            namespace: name.namespace.to_string(),
            name: name.name.to_string(),
            section_name: None,
        }
    }
}

/// Status of an InferencePool towards one Gateway.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolParentStatus {
    /// The Gateway.
    pub parent_ref: PoolReference,
    /// Controller that wrote the entry; v1alpha2 has no field for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller_name: Option<String>,
    /// `Accepted`, `ResolvedRefs`.
    pub conditions: Vec<Condition>,
}

/// The Gateway of an InferencePool's status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PoolReference {
    /// API group.
    pub group: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Status {
    /// Every list of conditions with the part of the object that it is about (a listener, a parent), empty for the whole.
    pub fn conditions(&self) -> Vec<(String, &[Condition])> {
        match &self.body {
            StatusBody::None => Vec::new(),
            StatusBody::Class(class) => vec![(String::new(), class.conditions.as_slice())],
            StatusBody::Conditions(list) => vec![(String::new(), list.conditions.as_slice())],
            StatusBody::Gateway(gateway) => {
                let listeners = gateway.listeners.iter().map(|it| (format!("listener {}", it.name), it.conditions.as_slice()));
                std::iter::once((String::new(), gateway.conditions.as_slice())).chain(listeners).collect()
            }
            StatusBody::Route { parents } => {
                parents.iter().map(|it| (parent_text(&it.parent_ref), it.conditions.as_slice())).collect()
            }
            StatusBody::Policy { ancestors } => {
                ancestors.iter().map(|it| (it.ancestor_ref.to_string(), it.conditions.as_slice())).collect()
            }
            StatusBody::Pool { parents } | StatusBody::PoolV1Alpha2 { parent: parents } => parents
                .iter()
                .map(|it| {
                    (format!("{} {}/{}", it.parent_ref.kind, it.parent_ref.namespace, it.parent_ref.name), it.conditions.as_slice())
                })
                .collect(),
        }
    }

    /// The worst severity of its conditions and notes.
    pub fn severity(&self) -> Severity {
        let worst = |list: &[Condition]| list.iter().map(Condition::severity).max();
        let of_body = match &self.body {
            StatusBody::None => None,
            StatusBody::Class(class) => worst(&class.conditions),
            StatusBody::Conditions(list) => worst(&list.conditions),
            StatusBody::Gateway(gateway) => {
                worst(&gateway.conditions).max(gateway.listeners.iter().filter_map(|it| worst(&it.conditions)).max())
            }
            StatusBody::Route { parents } => parents.iter().filter_map(|it| worst(&it.conditions)).max(),
            StatusBody::Policy { ancestors } => ancestors.iter().filter_map(|it| worst(&it.conditions)).max(),
            StatusBody::Pool { parents } | StatusBody::PoolV1Alpha2 { parent: parents } => {
                parents.iter().filter_map(|it| worst(&it.conditions)).max()
            }
        };
        let of_notes = self.notes.iter().map(|note| note.severity).max();
        of_body.max(of_notes).unwrap_or(Severity::Fine)
    }
}

impl std::fmt::Display for SectionReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)?;
        self.section_name.as_ref().map_or(Ok(()), |section| write!(f, " section {section}"))
    }
}

fn parent_text(parent: &ParentReference) -> String {
    let mut text = parent.kind.to_string();
    text.push(' ');
    if let Some(namespace) = &parent.namespace {
        text.push_str(namespace);
        text.push('/');
    }
    text.push_str(&parent.name);
    if let Some(section) = &parent.section_name {
        text.push_str(" section ");
        text.push_str(section);
    }
    if let Some(port) = parent.port {
        text.push_str(" port ");
        text.push_str(&port.to_string());
    }
    text
}
