//! Messages of watches to the collector.

use std::{collections::BTreeMap, sync::Arc};

use pailou_api::{Kind, ObjectKey};

use super::decoded::{Decoded, Raw};

/// Scope of one watch: a kind of a group, in one namespace or in all. Scopes do not overlap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Scope {
    pub(crate) kind: Kind,
    /// One of the kind's groups.
    pub(crate) group: &'static str,
    /// `None` for all namespaces, and for kinds that have none.
    pub(crate) namespace: Option<Arc<str>>,
}

impl Scope {
    /// Whether an object is in it.
    pub(crate) fn covers(&self, key: &ObjectKey) -> bool {
        key.kind == self.kind.name()
            && key.group == self.group
            && self.namespace.as_deref().is_none_or(|namespace| key.namespace == namespace)
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind.name())?;
        if self.kind.groups().len() > 1 {
            write!(f, ".{}", self.group)?;
        }
        self.namespace.as_ref().map_or(Ok(()), |namespace| write!(f, " in {namespace}"))
    }
}

/// One run of a watch over a scope. The collector ignores messages of a run that another has replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) scope: Scope,
    pub(crate) epoch: u64,
}

/// Message of a watch to the collector.
#[derive(Debug)]
pub(crate) enum Change {
    /// All objects of a scope: any other known object of it is deleted.
    Replace(Run, Vec<Decoded>),
    /// An object is there, or has changed.
    Upsert(Run, Box<Raw>),
    /// An object was deleted.
    Delete(Run, ObjectKey),
    /// The cluster serves a kind in this version, under this plural name.
    Served { kind: Kind, group: &'static str, version: &'static str, plural: String },
    /// The cluster does not serve a kind any more.
    Unserved { kind: Kind, group: &'static str },
    /// The bundle of Gateway API that each of its definitions is of, as [`Settings::bundles`](pailou_compile::Settings) has it.
    Bundles(BTreeMap<String, Option<String>>),
    /// The first list of CustomResourceDefinitions is complete.
    Listed,
}
