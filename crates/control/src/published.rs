//! What a compilation came to, for those who act on it: the writer of statuses, the provisioner and the feed.

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

    /// The text. Whoever asks for it answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

/// What a cluster's objects are, before anything was made of them: what the feed tells, which waits for no compilation. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Known {
    /// The objects. Held GatewayClasses (see [`source`](crate::source)) are not among them.
    pub store: Arc<Store>,
    /// The same objects as JSON.
    pub objects: Arc<Objects>,
    /// What the compiler will be told.
    pub settings: Arc<Settings>,
    /// GatewayClasses that other controllers hold.
    pub(crate) held: Arc<Held>,
}

impl Known {
    /// Whether proxies would be told the same. What the settings say of data planes is not for them.
    pub(crate) fn is_same_to_proxies(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.store, &other.store) && Arc::ptr_eq(&self.objects, &other.objects) && self.has_same_classes(other)
    }

    /// Whether the settings say the same of which Gateways are ours.
    pub(crate) fn has_same_classes(&self, other: &Self) -> bool {
        self.settings.controllers == other.settings.controllers && self.settings.classes == other.settings.classes
    }
}

/// What a cluster's objects were at one moment, and what they came to. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Published {
    /// The objects. Held GatewayClasses (see [`source`](crate::source)) are not among them.
    pub store: Arc<Store>,
    /// The same objects as JSON.
    pub objects: Arc<Objects>,
    /// What the compiler was told.
    pub settings: Arc<Settings>,
    /// What they came to.
    pub compiled: Compiled,
    /// GatewayClasses that other controllers hold.
    pub(crate) held: Arc<Held>,
}

impl Published {
    /// Whether the same is to be provisioned: whatever says so is looked up by a compilation, and nothing that was has changed.
    pub(crate) fn is_same_to_provisioner(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.compiled.snapshot, &other.compiled.snapshot)
            && Arc::ptr_eq(&self.compiled.statuses, &other.compiled.statuses)
    }
}
