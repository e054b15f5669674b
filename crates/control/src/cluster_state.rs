//! State of a cluster for those who act on it: the writer of statuses, the provisioner and the feed.

use std::{fmt, sync::Arc};

use pailou_compile::{Compiled, Settings, by_key::ByKey, store::Store};

use crate::source::classes::Held;

/// The JSON of every object by its key, for handing objects on as they are: apiVersion, kind, metadata and what the kind holds.
/// Left out are `managedFields`, `resourceVersion`, kubectl's copy of the whole in an annotation, the status of kinds that are
/// configuration, and whatever of a Pod is not read.
pub type Objects = ByKey<Json>;

/// An object as JSON. It may be a Secret, so no debug output shows it. Cloning shares the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    pub(crate) fn new(text: String) -> Self {
        Self(text.into())
    }

    /// The text. The caller answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

/// State of a cluster's objects before compilation. The feed sends it and waits for no compilation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ClusterState {
    /// The objects. Held GatewayClasses (see [`source`](crate::source)) are not among them.
    pub store: Arc<Store>,
    /// The same objects as JSON.
    pub objects: Arc<Objects>,
    /// The compiler's settings.
    pub settings: Arc<Settings>,
    /// GatewayClasses that other controllers hold.
    pub(crate) held: Arc<Held>,
}

impl ClusterState {
    /// Whether proxies would receive the same. The settings' data planes are not for them.
    pub(crate) fn is_same_to_proxies(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.store, &other.store) && Arc::ptr_eq(&self.objects, &other.objects) && self.has_same_classes(other)
    }

    /// Whether the settings select the same Gateways as ours.
    pub(crate) fn has_same_classes(&self, other: &Self) -> bool {
        self.settings.controllers == other.settings.controllers && self.settings.classes == other.settings.classes
    }
}

/// State of a cluster's objects at one moment, and its compilation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CompiledState {
    /// The objects and settings that the compiler read.
    pub cluster: ClusterState,
    /// Result of the compilation.
    pub compiled: Compiled,
}

impl CompiledState {
    /// Whether the provisioner would do the same: a compilation looks up all that decides it, so equal results mean equal input.
    pub(crate) fn is_same_to_provisioner(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.compiled.snapshot, &other.compiled.snapshot)
            && Arc::ptr_eq(&self.compiled.statuses, &other.compiled.statuses)
    }
}
