//! ReferenceGrant: who may refer into a namespace.

use serde::Deserialize;

use super::meta::Resource;
use super::names::{GroupName, KindName, NamespaceName, ObjectName};

/// `gateway.networking.k8s.io` ReferenceGrant.
pub type ReferenceGrant = Resource<ReferenceGrantSpec>;

/// `spec` of a ReferenceGrant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReferenceGrantSpec {
    /// The referrers, 1 to 16.
    pub from: Vec<ReferenceGrantFrom>,
    /// Kinds that they may refer to in the grant's namespace, 1 to 16.
    pub to: Vec<ReferenceGrantTo>,
}

/// Objects that may refer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReferenceGrantFrom {
    /// Their group.
    pub group: GroupName,
    /// Their kind.
    pub kind: KindName,
    /// Their namespace.
    pub namespace: NamespaceName,
}

/// Objects that may be referred to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReferenceGrantTo {
    /// Their group.
    pub group: GroupName,
    /// Their kind.
    pub kind: KindName,
    /// One of that name; all of them when absent.
    #[serde(default)]
    pub name: Option<ObjectName>,
}
