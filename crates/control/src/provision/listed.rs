//! The objects of one kind that were made for Gateways, as a watch tells of them.

use std::{
    collections::HashMap,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use kube::{
    Resource, ResourceExt,
    runtime::watcher::{self, Event},
};
use pailou_config::resources::NamespaceName;
use serde::Serialize;

use super::digest;
use crate::FIELD_MANAGER;

/// Namespace and name.
pub(crate) type Place = (String, String);

/// The objects of one kind. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Listed<T>(Arc<HashMap<Place, Arc<Made<T>>>>);

/// An object as the API server has it, but for what others manage of its fields.
#[derive(Debug)]
pub(crate) struct Made<T> {
    object: T,
    digest: OnceLock<u64>,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Listed<T> {
    /// The object of this namespace and name.
    pub(crate) fn get(&self, place: &Place) -> Option<&Arc<Made<T>>> {
        self.0.get(place)
    }

    /// All objects, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Place, &Arc<Made<T>>)> {
        self.0.iter()
    }
}

impl<T: Resource> FromIterator<T> for Listed<T> {
    fn from_iter<I: IntoIterator<Item = T>>(objects: I) -> Self {
        Self(Arc::new(objects.into_iter().map(Made::placed).collect()))
    }
}

impl<T: Resource> Made<T> {
    fn placed(mut object: T) -> (Place, Arc<Self>) {
        // Most of an object's size, and much of what it costs to keep.
        if let Some(fields) = &mut object.meta_mut().managed_fields {
            fields.retain(|it| it.manager.as_deref() == Some(FIELD_MANAGER));
        }
        let place = (object.meta().namespace.clone().unwrap_or_default(), object.name_any());
        (place, Arc::new(Self { object, digest: OnceLock::new() }))
    }
}

impl<T: Resource<DynamicType = ()> + Serialize> Made<T> {
    /// Digest of what an owner sets of it.
    pub(crate) fn digest(&self) -> u64 {
        *self.digest.get_or_init(|| digest::of_typed(&self.object))
    }
}

impl<T> Deref for Made<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.object
    }
}

impl<T: Resource> Listed<T> {
    /// Takes in an event; gives back whether it made a difference. `listed` is what has come of a list that is not whole yet, of
    /// `scope`'s namespace or of all.
    pub(super) fn take(
        &mut self,
        event: Result<Event<T>, watcher::Error>,
        listed: &mut HashMap<Place, Arc<Made<T>>>,
        scope: Option<&NamespaceName>,
    ) -> bool {
        match event {
            Ok(Event::Init) => {
                listed.clear();
                false
            }
            Ok(Event::InitApply(object)) => {
                listed.extend([Made::placed(object)]);
                false
            }
            Ok(Event::InitDone) => {
                let known = self.changed();
                known.retain(|(namespace, _), _| scope.is_some_and(|scope| scope.as_str() != namespace));
                known.extend(listed.drain());
                true
            }
            Ok(Event::Apply(object)) => {
                self.changed().extend([Made::placed(object)]);
                true
            }
            Ok(Event::Delete(object)) => self.changed().remove(&Made::placed(object).0).is_some(),
            Err(error) => {
                tracing::warn!(%error, "watching the data planes; trying again");
                false
            }
        }
    }

    /// The objects, to be changed. Who holds a clone keeps what it has.
    fn changed(&mut self) -> &mut HashMap<Place, Arc<Made<T>>> {
        Arc::make_mut(&mut self.0)
    }
}
