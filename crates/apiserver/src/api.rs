//! The test's view of the server: its objects, the requests it received, and failures to come.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{Method, Request};
use http_body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{
    answers::{Answer, failure, refuse},
    paths::{DEFINITIONS, name},
    state::Inner,
};

/// The server. Clones are the same one.
#[derive(Clone, Default, Debug)]
pub struct Api(Arc<Mutex<Inner>>);

/// One request.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// Its method.
    pub method: Method,
    /// Its path.
    pub path: String,
    /// Its query, without the question mark; empty where there is none.
    pub query: String,
    /// Its body; null where that is no JSON.
    pub body: Value,
}

impl Api {
    /// Serves a version of a group that needs no definition.
    pub fn serve(&self, group: &str, resources: Value) {
        self.inner().groups.insert(group.to_owned(), resources);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an object there, in the place of what it was, and gives back what it is now. A changed `spec` is a new generation.
    ///
    /// # Panics
    /// The object has no name.
    pub fn apply(&self, collection: &str, mut object: Value) -> Value {
        let mut inner = self.inner();
        inner.version += 1;
        let version = inner.version;
        let name = name(&object);
        let before = inner.objects.entry(collection.to_owned()).or_default().get(&name).cloned();
        let generation = match &before {
            Some(before) if before["spec"] == object["spec"] => before["metadata"]["generation"].clone(),
            Some(before) => (before["metadata"]["generation"].as_i64().unwrap_or_default() + 1).into(),
            None => 1.into(),
        };
        let uid = before.as_ref().map_or_else(|| format!("uid-{version}").into(), |before| before["metadata"]["uid"].clone());
        object["metadata"]["resourceVersion"] = version.to_string().into();
        object["metadata"]["generation"] = generation;
        object["metadata"]["uid"] = uid;
        if let (Some(before), None) = (&before, object.get("status")) {
            object["status"] = before["status"].clone();
        }
        inner.happened(collection, if before.is_some() { "MODIFIED" } else { "ADDED" }, &object);
        inner.objects.entry(collection.to_owned()).or_default().insert(name, object.clone());
        object
    }

    /// Installs a definition of a namespaced kind that says of which `bundle` of Gateway API it is: these versions of it are served.
    pub fn define(&self, bundle: &str, group: &str, plural: &str, kind: &str, versions: &[&str]) {
        let versions: Vec<Value> = versions.iter().map(|name| json!({ "name": name, "served": true })).collect();
        let annotations = json!({ "gateway.networking.k8s.io/bundle-version": bundle });
        let metadata = json!({ "name": format!("{plural}.{group}"), "annotations": annotations });
        let spec = json!({ "names": { "plural": plural, "kind": kind }, "versions": versions });
        self.apply(DEFINITIONS, json!({ "metadata": metadata, "spec": spec }));
    }

    /// Changes an object's status as another controller would.
    pub fn set_status(&self, collection: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(collection, name);
        change(&mut object["status"]);
        self.apply(collection, object);
    }

    /// Takes an object away.
    ///
    /// # Panics
    /// It is not there.
    pub fn delete(&self, collection: &str, name: &str) {
        let mut inner = self.inner();
        inner.version += 1;
        let version = inner.version;
        let mut object = inner.objects.get_mut(collection).and_then(|objects| objects.remove(name)).expect("it is there");
        object["metadata"]["resourceVersion"] = version.to_string().into();
        inner.happened(collection, "DELETED", &object);
    }

    /// An object as it is.
    pub fn get(&self, collection: &str, name: &str) -> Value {
        self.find(collection, name).unwrap_or_default()
    }

    /// An object, if it is there.
    pub fn find(&self, collection: &str, name: &str) -> Option<Value> {
        self.inner().objects.get(collection)?.get(name).cloned()
    }

    /// All objects of a collection.
    pub fn all(&self, collection: &str) -> Vec<Value> {
        self.inner().objects.get(collection).into_iter().flat_map(|objects| objects.values().cloned()).collect()
    }

    /// While it is down, nothing is answered, and no watch goes on.
    pub fn set_down(&self, is_down: bool) {
        let mut inner = self.inner();
        inner.is_down = is_down;
        inner.watchers.clear();
    }

    /// Forgets the past, and ends every watch: who goes on from an older version must list anew.
    pub fn forget(&self) {
        let mut inner = self.inner();
        inner.version += 1;
        inner.oldest = inner.version;
        inner.log.clear();
        inner.watchers.clear();
    }

    /// Tells every watch that its version is too old.
    pub fn expire(&self) {
        let mut inner = self.inner();
        inner.version += 1;
        let gone = json!({ "type": "ERROR", "object": failure(410, "too old resource version") });
        for watcher in inner.watchers.drain(..) {
            let _ = watcher.send.send(gone.clone());
        }
    }

    /// The next requests of this method to paths with this end are answered by these codes.
    pub fn script(&self, method: Method, end: &str, codes: &[u16]) {
        self.inner().scripted.insert((method, end.to_owned()), codes.to_vec());
    }

    /// Received requests with this method and a path that contains this.
    pub fn requests(&self, method: &Method, part: &str) -> Vec<RecordedRequest> {
        self.inner().asked.iter().filter(|asked| asked.method == *method && asked.path.contains(part)).cloned().collect()
    }

    /// Answers a request.
    ///
    /// # Errors
    /// The server is down.
    pub async fn answer<B: Body>(&self, request: Request<B>) -> Result<Answer, io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let asked = RecordedRequest {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let mut inner = self.inner();
        inner.asked.push(asked.clone());
        if inner.is_down {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let scripted = inner
            .scripted
            .iter_mut()
            .find(|((method, end), codes)| *method == asked.method && asked.path.ends_with(end.as_str()) && !codes.is_empty());
        if let Some((_, codes)) = scripted {
            return Ok(refuse(codes.remove(0), "as the test has it"));
        }
        Ok(inner.serve(&asked))
    }
}
