//! A backend that a route leads to.

use crate::index::Index;
use pailou_api::{Backend, InferencePool, Kind, Meta, Object, Service, references::Referent};

/// A backend that a route leads to.
#[derive(Clone, Copy)]
pub(super) enum Lead<'a> {
    Service(&'a Service),
    External(&'a Backend),
    Pool(&'a InferencePool),
}

impl<'a> Lead<'a> {
    pub(super) fn meta(self) -> &'a Meta {
        match self {
            Self::Service(it) => &it.meta,
            Self::External(it) => &it.meta,
            Self::Pool(it) => &it.meta,
        }
    }

    /// The backend that a reference names.
    pub(super) fn find(index: &Index<'a>, kind: Kind, to: Referent<'_>) -> Option<Self> {
        let Referent { group, namespace, name, .. } = to;
        match kind {
            Kind::Service => index.services.get(namespace, name).map(Self::Service),
            Kind::Backend => index.backends.get(namespace, name).map(Self::External),
            Kind::InferencePool => index.pool(group, namespace, name).map(Self::Pool),
            _ => None,
        }
    }

    /// An object, where it is a backend.
    pub(super) fn of(object: &'a Object) -> Option<Self> {
        match object {
            Object::Service(it) => Some(Self::Service(it)),
            Object::Backend(it) => Some(Self::External(it)),
            Object::InferencePool(it) => Some(Self::Pool(it)),
            _ => None,
        }
    }
}
