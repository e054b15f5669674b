//! An object as it comes from the API server, read.

use std::sync::Arc;

use kube::{ResourceExt, core::ApiResource};
use pailou_config::{
    parse::{ParseError, parse_object},
    resources::{Kind, NamespaceName, ObjectKey},
    store::Entry,
    unread::Unread,
};

use crate::published::Json;

use super::{
    live::{Live, has_status, other_writer},
    raw::RawObject,
    strip::strip,
};

/// An object as the API server has it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) key: ObjectKey,
    pub(crate) api_version: Arc<str>,
    pub(crate) uid: String,
    pub(crate) resource_version: String,
    /// Its status, where it has one that is written.
    pub(crate) live: Option<Live>,
    /// The object without what is not read, as JSON.
    pub(crate) json: Json,
    /// The object, or what is wrong with it.
    pub(crate) entry: Result<Entry, Rejected>,
}

/// An object that could not be decoded.
#[derive(Debug)]
pub(crate) struct Rejected {
    /// What is wrong.
    pub(crate) errors: Vec<ParseError>,
    /// What could be read of it, where it has a status.
    pub(crate) unread: Option<Unread>,
}

/// Reads the objects of one kind and version.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub(crate) kind: Kind,
    pub(crate) group: &'static str,
    pub(crate) resource: ApiResource,
    /// Where objects come from, for messages.
    pub(crate) origin: Arc<str>,
    /// Namespace of objects that name none, which the API server's do.
    pub(crate) namespace: NamespaceName,
}

impl Reader {
    /// The object's key.
    pub(crate) fn key(&self, object: &RawObject) -> ObjectKey {
        ObjectKey::new(self.group, self.kind.name(), object.namespace().unwrap_or_default(), object.name_any())
    }

    /// Reads an object.
    pub(crate) fn read(&self, object: RawObject) -> Seen {
        let key = self.key(&object);
        let uid = object.uid().unwrap_or_default();
        let resource_version = object.resource_version().unwrap_or_default();
        let live = has_status(self.kind).then(|| self.live(&object));
        let value = strip(self.kind, &self.resource.api_version, object);
        let json = Json::new(value.to_string());
        let entry = match parse_object(value, &self.origin, &self.namespace) {
            Ok(decoded) => Ok(Entry::new(decoded, self.origin.clone())),
            Err(errors) => {
                let again = serde_json::from_str(json.expose()).unwrap_or_default();
                let unread = Unread::new(&again, &self.namespace, &errors);
                Err(Rejected { errors, unread })
            }
        };
        Seen { key, api_version: self.resource.api_version.as_str().into(), uid, resource_version, live, json, entry }
    }

    /// What the writer needs to know of an object.
    pub(crate) fn live(&self, object: &RawObject) -> Live {
        Live {
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
