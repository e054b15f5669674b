//! Kinds that the cluster serves, and their versions.
//!
//! CustomResourceDefinitions are watched by their metadata alone, for their bodies are large. Of those that are ours the versions
//! are read whenever they change.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, ResourceExt,
    core::{ApiResource, GroupVersionKind, PartialObjectMeta},
    runtime::watcher::{self, Event},
};
use pailou_api::Kind;
use serde::Deserialize;
use tokio::{sync::mpsc, time};

use super::{bundles::Bundles, change::Change, optional, watch::reason};
use crate::{
    backoff::Backoff,
    list_watch::{ListChange, ListReducer, list_watch},
};

/// The delays between attempts while the API server does not answer.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LAST_DELAY: Duration = Duration::from_secs(30);

/// Whether every cluster serves the kind, with no CustomResourceDefinition.
pub(crate) fn is_built_in(kind: Kind) -> bool {
    matches!(kind, Kind::Namespace | Kind::Pod | Kind::Service | Kind::Secret | Kind::ConfigMap | Kind::EndpointSlice)
}

/// Resource of a kind in one version, for requests to the API server.
pub(crate) fn resource(kind: Kind, group: &str, version: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind.name()))
}

/// Follows CustomResourceDefinitions until nobody listens any more.
pub(crate) async fn follow(client: Client, changes: mpsc::Sender<Change>) {
    let mut follower = Follower {
        client: client.clone(),
        changes,
        ours: ours(),
        known: BTreeMap::new(),
        undecodable: BTreeSet::new(),
        bundles: Bundles::default(),
        is_unasked: false,
    };
    let api: Api<Definition> = Api::all(client);
    let mut events = std::pin::pin!(list_watch(api, watcher::Config::default()));
    let mut backoff = Backoff::new(FIRST_DELAY, LAST_DELAY);
    let mut reducer = ListReducer::default();
    while !follower.changes.is_closed() {
        let event = tokio::select! {
            event = events.next() => event,
            () = time::sleep(Duration::from_secs(1)), if !follower.undecodable.is_empty() || follower.is_unasked => {
                follower.read_all().await;
                continue;
            }
        };
        match event {
            Some(Ok(event)) => {
                if !matches!(event, Event::Init) {
                    backoff.reset();
                }
                if let Some(change) = reducer.reduce(event, Some) {
                    follower.take(change).await;
                }
            }
            Some(Err(error)) => {
                tracing::warn!("cannot watch CustomResourceDefinitions, retrying: {}", reason(&error));
                time::sleep(backoff.failed()).await;
            }
            None => return,
        }
    }
}

/// The kinds, with their groups, that need a CustomResourceDefinition.
pub(crate) fn defined_kinds() -> impl Iterator<Item = (Kind, &'static str)> {
    let kinds = Kind::ALL.iter().copied().filter(|kind| !is_built_in(*kind) && !optional::is_optional(*kind));
    kinds.flat_map(|kind| kind.groups().iter().map(move |group| (kind, *group)))
}

/// The same by the definitions' names.
fn ours() -> BTreeMap<String, (Kind, &'static str)> {
    defined_kinds().map(|(kind, group)| (format!("{}.{group}", resource(kind, group, "v1").plural), (kind, group))).collect()
}

struct Follower {
    client: Client,
    changes: mpsc::Sender<Change>,
    ours: BTreeMap<String, (Kind, &'static str)>,
    /// The generation at which each of ours was last read.
    known: BTreeMap<String, i64>,
    /// Those that have changed since, or could not be read.
    undecodable: BTreeSet<String>,
    bundles: Bundles,
    /// Whether the lookup of optional kinds is still to come.
    is_unasked: bool,
}

pub(super) type Definition = PartialObjectMeta<CustomResourceDefinition>;

impl Follower {
    async fn take(&mut self, change: ListChange<Definition, Definition>) {
        match change {
            ListChange::Replace(definitions) => {
                self.bundles = Bundles::default();
                let listed: BTreeSet<String> = definitions.iter().filter_map(|definition| self.note(definition)).collect();
                let gone: Vec<String> = self.known.keys().filter(|name| !listed.contains(*name)).cloned().collect();
                for name in gone {
                    self.forget(&name).await;
                }
                self.is_unasked = true;
                self.read_all().await;
                self.send(self.bundles.change()).await;
                self.send(Change::Listed).await;
            }
            ListChange::Upsert(definition) => {
                let before = self.bundles.clone();
                self.note(&definition);
                self.read_all().await;
                if self.bundles != before {
                    self.send(self.bundles.change()).await;
                }
            }
            ListChange::Delete(definition) => {
                let name = definition.name_any();
                if self.bundles.remove(&name) {
                    self.send(self.bundles.change()).await;
                }
                self.forget(&name).await;
            }
        }
    }

    /// Marks a definition as undecodable if it is ours and has changed. Gives back its name if it is ours.
    fn note(&mut self, definition: &Definition) -> Option<String> {
        let name = definition.name_any();
        self.bundles.note(&name, definition);
        self.ours.get(&name)?;
        let generation = definition.metadata.generation.unwrap_or_default();
        if self.known.get(&name) != Some(&generation) {
            self.known.insert(name.clone(), generation);
            self.undecodable.insert(name.clone());
        }
        Some(name)
    }

    async fn forget(&mut self, name: &str) {
        self.known.remove(name);
        self.undecodable.remove(name);
        if let Some((kind, group)) = self.ours.get(name).copied() {
            tracing::info!("the cluster no longer serves {} of {group}", kind.name());
            self.send(Change::Unserved { kind, group }).await;
        }
    }

    async fn read_all(&mut self) {
        for name in std::mem::take(&mut self.undecodable) {
            match read(&self.client, &name).await {
                Ok(body) => self.report(&name, body).await,
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot read CustomResourceDefinition {name}, retrying");
                    self.undecodable.insert(name);
                }
            }
        }
        if self.is_unasked {
            self.ask().await;
        }
    }

    async fn ask(&mut self) {
        match optional::ask(&self.client).await {
            Ok(changes) => {
                self.is_unasked = false;
                for change in changes {
                    self.send(change).await;
                }
            }
            Err(error) => tracing::warn!(%error, "cannot look up ClusterTrustBundles, retrying"),
        }
    }

    async fn report(&self, name: &str, body: Body) {
        let Some((kind, group)) = self.ours.get(name).copied() else { return };
        let is_served = |version: &&&str| body.spec.versions.iter().any(|it| it.served && it.name == **version);
        let change = match kind.versions(group).iter().find(is_served) {
            Some(version) => Change::Served { kind, group, version, plural: body.spec.names.plural },
            None => {
                let known = kind.versions(group).join(", ");
                tracing::warn!("the cluster serves no known version of {} of {group} ({known}): ignored", kind.name());
                Change::Unserved { kind, group }
            }
        };
        self.send(change).await;
    }

    async fn send(&self, change: Change) {
        // A collector that has ended ends this task at its next turn.
        let _ = self.changes.send(change).await;
    }
}

/// The part of a CustomResourceDefinition that the controller reads.
#[derive(Debug, Deserialize)]
struct Body {
    spec: Spec,
}

#[derive(Debug, Deserialize)]
struct Spec {
    names: Names,
    versions: Vec<Version>,
}

#[derive(Debug, Deserialize)]
struct Names {
    plural: String,
}

#[derive(Debug, Deserialize)]
struct Version {
    name: String,
    served: bool,
}

async fn read(client: &Client, name: &str) -> Result<Body, kube::Error> {
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
    let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
    client.request(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_named_as_the_projects_name_them() {
        let names = ours();
        for name in [
            "gateways.gateway.networking.k8s.io",
            "gatewayclasses.gateway.networking.k8s.io",
            "backendtlspolicies.gateway.networking.k8s.io",
            "listenersets.gateway.networking.k8s.io",
            "inferencepools.inference.networking.k8s.io",
            "inferencepools.inference.networking.x-k8s.io",
            "inferencemodelrewrites.inference.networking.x-k8s.io",
            "inferencemodelrewrites.llm-d.ai",
            "inferenceobjectives.llm-d.ai",
            "envoyproxies.gateway.envoyproxy.io",
            "httproutefilters.gateway.envoyproxy.io",
            "envoypatchpolicies.gateway.envoyproxy.io",
            "inferencetrafficpolicies.inferenceextension.alibabacloud.com",
            "acktrafficfilters.inferenceextension.alibabacloud.com",
        ] {
            assert!(names.contains_key(name), "{name} is not among {:?}", names.keys());
        }
        assert!(!names.keys().any(|name| name.starts_with("pods") || name.starts_with("clustertrustbundles")));
        assert_eq!(resource(Kind::EndpointSlice, "discovery.k8s.io", "v1").plural, "endpointslices");
    }
}
