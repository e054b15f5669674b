//! Namespace.

use crate::meta::Resource;

/// Core Namespace (cluster-scoped): its labels are what selectors look at.
pub type Namespace = Resource<NamespaceSpec>;

/// Nothing of a Namespace's spec is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NamespaceSpec;
