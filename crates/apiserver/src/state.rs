//! State of an API server, and its answers.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use http::{Method, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    answers::{Answer, ok, refuse},
    api::RecordedRequest,
    paths::{DEFINITIONS, is_of, locate, name},
};

const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";

/// Objects, and events.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    pub(crate) version: u64,
    /// By collection (`/apis/gateway.networking.k8s.io/v1/gateways`), then by `namespace/name`.
    pub(crate) objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// Everything that has happened, by version.
    pub(crate) log: Vec<(u64, String, Value)>,
    pub(crate) watchers: Vec<Watcher>,
    /// The resources of a group's version (`/apis/certificates.k8s.io/v1beta1`), where it is served.
    pub(crate) groups: BTreeMap<String, Value>,
    pub(crate) is_down: bool,
    /// Versions before this are forgotten.
    pub(crate) oldest: u64,
    /// Answers given in place of the true ones, by method and the end of the path.
    pub(crate) scripted: HashMap<(Method, String), Vec<u16>>,
    /// Received requests, watches and lists included.
    pub(crate) asked: Vec<RecordedRequest>,
}

#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) path: String,
    pub(crate) send: mpsc::UnboundedSender<Value>,
}

impl Inner {
    pub(crate) fn happened(&mut self, collection: &str, kind: &str, object: &Value) {
        let event = json!({ "type": kind, "object": object });
        self.log.push((self.version, collection.to_owned(), event.clone()));
        self.watchers.retain(|watcher| !is_of(&watcher.path, collection, object) || watcher.send.send(event.clone()).is_ok());
    }

    /// Answers a request by what there is.
    pub(crate) fn serve(&mut self, asked: &RecordedRequest) -> Answer {
        if let ["apis", group, version] = asked.path.trim_start_matches('/').split('/').collect::<Vec<_>>()[..]
            && !self.groups.contains_key(&asked.path)
        {
            return self.discovered(group, version);
        }
        let is_watch = asked.query.contains("watch=true");
        match (asked.method.as_str(), locate(&asked.path)) {
            ("GET", (collection, Some(name), _)) => match self.objects.get(&collection).and_then(|it| it.get(&name)) {
                Some(object) => ok(object),
                None => refuse(404, "not found"),
            },
            ("GET", (group, None, None)) if self.groups.contains_key(&group) => {
                ok(&json!({ "kind": "APIResourceList", "groupVersion": group, "resources": self.groups[&group] }))
            }
            ("GET", _) if is_watch => self.watch(asked),
            ("GET", _) => self.list(asked),
            ("POST", (collection, None, _)) if collection == TOKEN_REVIEWS => ok(&reviewed(&asked.body)),
            ("POST", (collection, None, _)) => {
                let mut object = asked.body.clone();
                if let Some((_, rest)) = asked.path.split_once("/namespaces/") {
                    object["metadata"]["namespace"] = rest.split('/').next().into();
                }
                self.put(&collection, None, object)
            }
            ("PUT", (collection, Some(name), sub)) => {
                let Some(known) = self.objects.get(&collection).and_then(|it| it.get(&name)).cloned() else {
                    return refuse(404, "not found");
                };
                if asked.body["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"] {
                    return refuse(409, "the object has been modified");
                }
                let mut object = asked.body.clone();
                if sub.as_deref() == Some("status") {
                    object = known.clone();
                    object["status"] = asked.body["status"].clone();
                }
                self.put(&collection, Some(&known), object)
            }
            // Server-side apply by one manager deletes fields that it leaves out, but for the status, which has other managers.
            ("PATCH", (collection, Some(name), None)) => {
                let known = self.objects.get(&collection).and_then(|it| it.get(&name)).cloned();
                let mut object = asked.body.clone();
                if let Some(status) = known.as_ref().and_then(|known| known.get("status")) {
                    object["status"] = status.clone();
                }
                self.put(&collection, known.as_ref(), object)
            }
            ("DELETE", (collection, Some(name), None)) => self.remove(&collection, &name),
            _ => refuse(405, "not here"),
        }
    }

    /// Resources that a group serves in a version, by the definitions.
    fn discovered(&self, group: &str, version: &str) -> Answer {
        let definitions = self.objects.get(DEFINITIONS);
        let served = definitions.into_iter().flat_map(BTreeMap::values).filter(|definition| {
            let is_served = definition["spec"]["versions"].as_array().is_some_and(|all| all.iter().any(|it| it["name"] == version));
            is_served
                && definition["metadata"]["name"].as_str().is_some_and(|name| name.split_once('.').is_some_and(|it| it.1 == group))
        });
        let resource = |definition: &Value| {
            let names = &definition["spec"]["names"];
            json!({ "name": names["plural"], "kind": names["kind"], "singularName": "", "namespaced": true, "verbs": [] })
        };
        match served.map(resource).collect::<Vec<_>>() {
            none if none.is_empty() => refuse(404, "not found"),
            resources => ok(&json!({ "groupVersion": format!("{group}/{version}"), "resources": resources })),
        }
    }

    fn remove(&mut self, collection: &str, name: &str) -> Answer {
        let Some(object) = self.objects.get_mut(collection).and_then(|objects| objects.remove(name)) else {
            return refuse(404, "not found");
        };
        self.version += 1;
        self.happened(collection, "DELETED", &object);
        ok(&object)
    }

    fn put(&mut self, collection: &str, known: Option<&Value>, mut object: Value) -> Answer {
        if known.is_none() && self.objects.get(collection).is_some_and(|it| it.contains_key(&name(&object))) {
            return refuse(409, "already exists");
        }
        // A write that changes nothing is none.
        if known.is_some_and(|known| known["status"] == object["status"] && known["spec"] == object["spec"]) {
            return ok(&object);
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.happened(collection, if known.is_some() { "MODIFIED" } else { "ADDED" }, &object);
        self.objects.entry(collection.to_owned()).or_default().insert(name(&object), object.clone());
        ok(&object)
    }

    fn list(&mut self, asked: &RecordedRequest) -> Answer {
        let objects = self.objects.iter().flat_map(|(collection, objects)| objects.values().map(move |it| (collection, it)));
        let items: Vec<&Value> = objects.filter(|(collection, it)| is_of(&asked.path, collection, it)).map(|(_, it)| it).collect();
        ok(
            &json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": self.version.to_string() }, "items": items }),
        )
    }

    fn watch(&mut self, asked: &RecordedRequest) -> Answer {
        let from = asked.query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion=")?.parse().ok()).unwrap_or(0);
        if from < self.oldest {
            return refuse(410, "too old resource version");
        }
        let (send, mut events) = mpsc::unbounded_channel();
        for (_, _, event) in self
            .log
            .iter()
            .filter(|(version, collection, event)| *version > from && is_of(&asked.path, collection, &event["object"]))
        {
            let _ = send.send(event.clone());
        }
        self.watchers.push(Watcher { path: asked.path.clone(), send });
        let frames = futures_util::stream::poll_fn(move |context| {
            events.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(line(&event)))))
        });
        Response::new(StreamBody::new(frames).boxed())
    }
}

/// An event as API servers write it: what it is first.
fn line(event: &Value) -> Bytes {
    format!("{{\"type\":{},\"object\":{}}}\n", event["type"], event["object"]).into()
}

/// A review of a token, which is the namespace and the name of a service account with a colon between them. It is good for whatever
/// it is to be good for.
fn reviewed(review: &Value) -> Value {
    let token = review["spec"]["token"].as_str().unwrap_or_default();
    let user = json!({ "username": format!("system:serviceaccount:{token}") });
    let status = json!({ "authenticated": token.contains(':'), "audiences": review["spec"]["audiences"], "user": user });
    json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": review["spec"], "status": status })
}
