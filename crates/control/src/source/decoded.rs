//! An object as it comes from the API server, read.

use std::sync::Arc;

use kube::{ResourceExt, core::ApiResource};
use pailou_api::{
    Kind, Meta, NamespaceName, ObjectKey,
    parse::{ParseError, Problem, parse_object},
    undecodable::Undecodable,
};
use pailou_compile::store::Entry;

use crate::cluster_state::Json;

use super::{
    prune_fields::{self, Unparsed, prune_fields},
    raw::RawObject,
    status_cache::{CachedStatus, other_writer},
};

/// An object as the API server tells it, not read yet.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) key: ObjectKey,
    object: RawObject,
    reader: Arc<Reader>,
}

impl Raw {
    /// Whether it is what was read before, but for its status.
    pub(crate) fn is_unchanged(&self, read: &Meta) -> bool {
        self.reader.kind.has_status() && prune_fields::is_unchanged(read, &self.object.metadata)
    }

    /// The part that the writer of statuses needs, if it writes this kind's.
    pub(crate) fn live(&self) -> Option<CachedStatus> {
        self.reader.kind.has_status().then(|| self.reader.live(&self.object))
    }

    /// Reads it.
    pub(crate) fn read(self) -> Decoded {
        let live = self.live();
        let Self { key, object, reader } = self;
        let uid = object.uid().unwrap_or_default();
        let resource_version = object.resource_version().unwrap_or_default();
        let (value, unparsed) = prune_fields(reader.kind, &reader.resource.api_version, object);
        let json = Json::new(value.to_string());
        let decoded = match unparsed.as_slice() {
            [] => parse_object(value, &reader.origin, &reader.namespace),
            unparsed => Err(unparsed.iter().map(|unparsed| reader.error(&key, unparsed)).collect()),
        };
        let entry = match decoded {
            Ok(decoded) => Ok(Entry::new(decoded, reader.origin.clone())),
            Err(errors) => {
                let again = serde_json::from_str(json.expose()).unwrap_or_default();
                let undecodable = Undecodable::new(&again, &reader.namespace, &errors);
                let origin = || reader.origin.clone();
                let closing = undecodable.as_ref().and_then(|it| Entry::closing_policy(it, origin())).map(Box::new);
                Err(Rejected { errors, undecodable, closing })
            }
        };
        Decoded { key, api_version: reader.resource.api_version.as_str().into(), uid, resource_version, live, json, entry }
    }
}

/// An object as the API server has it.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) key: ObjectKey,
    pub(crate) api_version: Arc<str>,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    /// Its status, where it has one that is written.
    pub(crate) live: Option<CachedStatus>,
    /// The object without what is not read, as JSON.
    pub(crate) json: Json,
    /// The object, or what is wrong with it.
    pub(crate) entry: Result<Entry, Rejected>,
}

/// An object that could not be decoded.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// The errors.
    pub(crate) errors: Vec<ParseError>,
    /// The part of it that could be read, if it has a status.
    pub(crate) undecodable: Option<Undecodable>,
    /// Policy that closes the targets of one that guards, until a version of it decodes.
    pub(crate) closing: Option<Box<Entry>>,
}

/// Reads the objects of one kind and version.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) kind: Kind,
    pub(crate) group: &'static str,
    pub(crate) resource: ApiResource,
    /// Origin of the objects, for messages.
    pub(crate) origin: Arc<str>,
    /// Namespace of objects that name none, which the API server's do.
    pub(crate) namespace: NamespaceName,
}

impl Reader {
    /// The object's key.
    pub(crate) fn key(&self, object: &RawObject) -> ObjectKey {
        ObjectKey::new(self.group, self.kind.name(), object.namespace().unwrap_or_default(), object.name_any())
    }

    /// An object as the API server sends it.
    pub(crate) fn raw(self: &Arc<Self>, object: RawObject) -> Raw {
        Raw { key: self.key(&object), object, reader: self.clone() }
    }

    /// Error of a field that the JSON reader refuses.
    fn error(&self, key: &ObjectKey, (field, error): &Unparsed) -> ParseError {
        ParseError {
            origin: self.origin.to_string(),
            line: None,
            api_version: Some(self.resource.api_version.clone()),
            kind: Some(self.kind.name().to_owned()),
            namespace: Some(key.namespace.clone()).filter(|namespace| !namespace.is_empty()),
            name: Some(key.name.clone()),
            path: Some(field.clone()),
            problem: Problem::Value(error.to_string()),
        }
    }

    /// The part of an object that the writer of statuses needs.
    fn live(&self, object: &RawObject) -> CachedStatus {
        CachedStatus {
            api_version: self.resource.api_version.as_str().into(),
            plural: self.resource.plural.as_str().into(),
            uid: object.uid().unwrap_or_default(),
            resource_version: object.resource_version().unwrap_or_default(),
            generation: object.metadata.generation.unwrap_or_default(),
            status: object.data.get("status").into(),
            other_writer: other_writer(&object.metadata),
            written: None,
        }
    }
}
