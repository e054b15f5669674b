//! Observed objects of one kind.

use std::{collections::HashMap, sync::Arc};

use kube::{Resource, ResourceExt};
use pailou_api::NamespaceName;

use crate::list_watch::ListChange;

/// Namespace and name.
pub(crate) type ObjectName = (String, String);

/// The objects of one kind. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Listed<T>(Arc<HashMap<ObjectName, Arc<T>>>);

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Listed<T> {
    /// The object of this namespace and name.
    pub(crate) fn get(&self, object_name: &ObjectName) -> Option<&Arc<T>> {
        self.0.get(object_name)
    }

    /// All objects, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ObjectName, &Arc<T>)> {
        self.0.iter()
    }
}

impl<T: Resource> FromIterator<T> for Listed<T> {
    fn from_iter<I: IntoIterator<Item = T>>(objects: I) -> Self {
        Self(Arc::new(objects.into_iter().map(named).collect()))
    }
}

fn named<T: Resource>(object: T) -> (ObjectName, Arc<T>) {
    ((object.namespace().unwrap_or_default(), object.name_any()), Arc::new(object))
}

impl<T: Resource> Listed<T> {
    /// Takes a change of `scope`'s namespace, or of all namespaces, in. Returns whether it made a difference.
    pub(super) fn take(&mut self, change: ListChange<T, T>, scope: Option<&NamespaceName>) -> bool {
        match change {
            ListChange::Replace(objects) => {
                let known = self.changed();
                known.retain(|(namespace, _), _| scope.is_some_and(|scope| scope.as_str() != namespace));
                known.extend(objects.into_iter().map(named));
                true
            }
            ListChange::Upsert(object) => {
                self.changed().extend([named(object)]);
                true
            }
            ListChange::Delete(object) => self.changed().remove(&named(object).0).is_some(),
        }
    }

    /// The objects, for a change. Holders of a clone keep what they have.
    fn changed(&mut self) -> &mut HashMap<ObjectName, Arc<T>> {
        Arc::make_mut(&mut self.0)
    }
}
