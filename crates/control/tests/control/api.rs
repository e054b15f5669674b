//! An API server in memory: enough of one for lists, watches, statuses, Leases and definitions, and one that can be told to fail.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use kube::{Client, client::Body};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The server. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Api(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    version: u64,
    /// By collection (`/apis/gateway.networking.k8s.io/v1/gateways`), then by `namespace/name`.
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// Everything that has happened, by version.
    log: Vec<(u64, String, Value)>,
    watchers: Vec<Watcher>,
    /// The resources of a group's version (`/apis/certificates.k8s.io/v1beta1`), where it is served.
    groups: BTreeMap<String, Value>,
    is_down: bool,
    /// Versions before this are forgotten.
    oldest: u64,
    /// Answers given in place of the true ones, by method and the end of the path.
    scripted: HashMap<(Method, String), Vec<u16>>,
    /// What was asked, watches and lists included.
    asked: Vec<Asked>,
}

struct Watcher {
    path: String,
    send: mpsc::UnboundedSender<Value>,
}

/// One request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

impl Api {
    /// Serves a version of a group that needs no definition.
    pub(crate) fn serve(&self, group: &str, resources: Value) {
        self.inner().groups.insert(group.to_owned(), resources);
    }

    /// A client of it.
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { api.answer(request).await }
        });
        Client::new(service, "default")
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an object there, in the place of what it was. A changed `spec` is a new generation.
    pub(crate) fn apply(&self, collection: &str, mut object: Value) -> Value {
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

    /// Changes an object's status as another controller would.
    pub(crate) fn set_status(&self, collection: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(collection, name);
        change(&mut object["status"]);
        self.apply(collection, object);
    }

    /// Takes an object away.
    pub(crate) fn delete(&self, collection: &str, name: &str) {
        let mut inner = self.inner();
        inner.version += 1;
        let version = inner.version;
        let mut object = inner.objects.get_mut(collection).and_then(|objects| objects.remove(name)).expect("it is there");
        object["metadata"]["resourceVersion"] = version.to_string().into();
        inner.happened(collection, "DELETED", &object);
    }

    /// An object as it is.
    pub(crate) fn get(&self, collection: &str, name: &str) -> Value {
        self.find(collection, name).unwrap_or_default()
    }

    /// An object, if it is there.
    pub(crate) fn find(&self, collection: &str, name: &str) -> Option<Value> {
        self.inner().objects.get(collection)?.get(name).cloned()
    }

    /// All objects of a collection.
    pub(crate) fn all(&self, collection: &str) -> Vec<Value> {
        self.inner().objects.get(collection).into_iter().flat_map(|objects| objects.values().cloned()).collect()
    }

    /// While it is down, nothing is answered, and no watch goes on.
    pub(crate) fn set_down(&self, is_down: bool) {
        let mut inner = self.inner();
        inner.is_down = is_down;
        inner.watchers.clear();
    }

    /// Forgets the past, and ends every watch: who goes on from an older version must list anew.
    pub(crate) fn forget(&self) {
        let mut inner = self.inner();
        inner.version += 1;
        inner.oldest = inner.version;
        inner.log.clear();
        inner.watchers.clear();
    }

    /// Tells every watch that its version is too old.
    pub(crate) fn expire(&self) {
        let mut inner = self.inner();
        inner.version += 1;
        let gone = json!({ "type": "ERROR", "object": failure(410, "too old resource version") });
        for watcher in inner.watchers.drain(..) {
            let _ = watcher.send.send(gone.clone());
        }
    }

    /// The next requests of this method to paths with this end are answered by these codes.
    pub(crate) fn script(&self, method: Method, end: &str, codes: &[u16]) {
        self.inner().scripted.insert((method, end.to_owned()), codes.to_vec());
    }

    /// What was asked with this method of paths that contain this.
    pub(crate) fn asked(&self, method: &Method, part: &str) -> Vec<Asked> {
        self.inner().asked.iter().filter(|asked| asked.method == *method && asked.path.contains(part)).cloned().collect()
    }

    async fn answer(&self, request: Request<Body>) -> Result<Answer, std::io::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let asked = Asked {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        let mut inner = self.inner();
        inner.asked.push(asked.clone());
        if inner.is_down {
            return Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
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

impl Inner {
    fn happened(&mut self, collection: &str, kind: &str, object: &Value) {
        let event = json!({ "type": kind, "object": object });
        self.log.push((self.version, collection.to_owned(), event.clone()));
        self.watchers.retain(|watcher| !is_of(&watcher.path, collection, object) || watcher.send.send(event.clone()).is_ok());
    }

    fn serve(&mut self, asked: &Asked) -> Answer {
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
            // Server-side apply by one manager: what it leaves out is gone.
            ("PATCH", (collection, Some(name), None)) => {
                let known = self.objects.get(&collection).and_then(|it| it.get(&name)).cloned();
                self.put(&collection, known.as_ref(), asked.body.clone())
            }
            ("DELETE", (collection, Some(name), None)) => self.remove(&collection, &name),
            _ => refuse(405, "not here"),
        }
    }

    /// What a group serves in a version, by the definitions.
    fn discovered(&self, group: &str, version: &str) -> Answer {
        let definitions = self.objects.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions");
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

    fn list(&mut self, asked: &Asked) -> Answer {
        let objects = self.objects.iter().flat_map(|(collection, objects)| objects.values().map(move |it| (collection, it)));
        let items: Vec<&Value> = objects.filter(|(collection, it)| is_of(&asked.path, collection, it)).map(|(_, it)| it).collect();
        ok(
            &json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": self.version.to_string() }, "items": items }),
        )
    }

    fn watch(&mut self, asked: &Asked) -> Answer {
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
            events.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n"))))))
        });
        Response::new(StreamBody::new(frames).boxed())
    }
}

/// The collection, the object and the subresource that a path names.
fn locate(path: &str) -> (String, Option<String>, Option<String>) {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let base = if parts[0] == "api" { 2 } else { 3 };
    let (namespace, rest) = match &parts[base..] {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        rest => (None, rest),
    };
    if rest.is_empty() {
        return (format!("/{}", parts.join("/")), None, None);
    }
    let collection = format!("/{}/{}", parts[..base].join("/"), rest[0]);
    let named = rest.get(1).map(|name| namespace.map_or_else(|| (*name).to_owned(), |namespace| format!("{namespace}/{name}")));
    (collection, named, rest.get(2).map(|sub| (*sub).to_owned()))
}

/// Whether an object of a collection is among what a path lists.
fn is_of(path: &str, collection: &str, object: &Value) -> bool {
    let (listed, _, _) = locate(path);
    let namespace = path.split_once("/namespaces/").and_then(|(_, rest)| rest.split_once('/')).map(|(namespace, _)| namespace);
    listed == collection && namespace.is_none_or(|namespace| object["metadata"]["namespace"] == namespace)
}

fn name(object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().expect("it has a name");
    object["metadata"]["namespace"].as_str().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

fn ok(value: &Value) -> Answer {
    Response::new(Full::new(Bytes::from(value.to_string())).boxed())
}

fn refuse(code: u16, message: &str) -> Answer {
    let mut response = ok(&failure(code, message));
    *response.status_mut() = StatusCode::from_u16(code).expect("it is a code");
    response
}

fn failure(code: u16, message: &str) -> Value {
    let reason = match code {
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        422 => "Invalid",
        500 => "InternalError",
        _ => "",
    };
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": reason, "metadata": {} })
}
