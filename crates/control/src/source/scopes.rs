//! The watches that run, and which of them have said everything once.

use std::{collections::BTreeMap, sync::Arc};

use kube::{Api, Client, core::ApiResource};
use pailou_api::{Kind, NamespaceName};
use pailou_compile::unsupported_kind;
use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    change::{Change, Run, Scope},
    crds,
    decoded::Reader,
    pods::{self, Selectors},
    prune_fields,
    watch::{LabelFilter, Watch},
};
use crate::metrics::Metrics;

/// The watches that run.
pub(crate) struct Scopes {
    client: Client,
    namespaces: Vec<NamespaceName>,
    origin: Arc<str>,
    changes: mpsc::Sender<Change>,
    metrics: Arc<Metrics>,
    running: BTreeMap<Scope, Running>,
    /// The version in which kinds with a definition are watched.
    versions: BTreeMap<(Kind, &'static str), &'static str>,
    pods: BTreeMap<Arc<str>, Selectors>,
    next_epoch: u64,
    are_definitions_listed: bool,
}

struct Running {
    epoch: u64,
    is_synced: bool,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scopes {
    /// Watches nothing yet. Needs the runtime once it does.
    pub(crate) fn new(
        client: Client,
        namespaces: Vec<NamespaceName>,
        origin: Arc<str>,
        changes: mpsc::Sender<Change>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            client,
            namespaces,
            origin,
            changes,
            metrics,
            running: BTreeMap::new(),
            versions: BTreeMap::new(),
            pods: BTreeMap::new(),
            next_epoch: 0,
            are_definitions_listed: false,
        }
    }

    /// Watches the kinds that every cluster has, all but Pods.
    pub(crate) fn watch_built_in(&mut self) {
        for kind in Kind::ALL.iter().copied().filter(|kind| crds::is_built_in(*kind) && *kind != Kind::Pod) {
            for group in kind.groups() {
                self.watch_kind(kind, group, crds::resource(kind, group, "v1"));
            }
        }
    }

    /// Watches ConfigMaps from now on.
    pub(crate) fn watch_config_maps(&mut self) {
        if self.running.keys().all(|scope| scope.kind != Kind::ConfigMap) {
            self.watch_kind(Kind::ConfigMap, "", crds::resource(Kind::ConfigMap, "", "v1"));
        }
    }

    /// Whether the first lists are complete.
    pub(crate) fn is_synced(&self) -> bool {
        self.are_definitions_listed && self.running.values().all(|running| running.is_synced)
    }

    /// The lists that are missing.
    pub(crate) fn awaited(&self) -> Vec<String> {
        let definitions = (!self.are_definitions_listed).then(|| "CustomResourceDefinition".to_owned());
        let scopes = self.running.iter().filter(|(_, running)| !running.is_synced).map(|(scope, _)| scope.to_string());
        definitions.into_iter().chain(scopes).collect()
    }

    /// The first list of definitions is complete.
    pub(crate) fn listed(&mut self) {
        if !std::mem::replace(&mut self.are_definitions_listed, true) {
            let missing: Vec<String> = crds::defined_kinds()
                .filter(|defined| !self.versions.contains_key(defined) && unsupported_kind(defined.0).is_none())
                .map(|(kind, group)| format!("{} of {group}", kind.name()))
                .collect();
            tracing::info!("watching {} kinds that have a CustomResourceDefinition", self.versions.len());
            if !missing.is_empty() {
                tracing::info!("CustomResourceDefinitions not installed, waiting for them: {}", missing.join(", "));
            }
        }
    }

    /// The first lookup of all kinds is complete.
    pub(crate) fn listed_kinds(&mut self) {
        self.are_definitions_listed = true;
    }

    /// Whether this run is the newest of its scope.
    pub(crate) fn is_current(&self, run: &Run) -> bool {
        self.running.get(&run.scope).is_some_and(|running| running.epoch == run.epoch)
    }

    /// A run has said everything once.
    pub(crate) fn synced(&mut self, run: &Run) {
        if let Some(running) = self.running.get_mut(&run.scope) {
            running.is_synced = true;
        }
    }

    /// Watches a kind in this version from now on.
    pub(crate) fn serve(&mut self, kind: Kind, group: &'static str, version: &'static str, plural: &str) {
        if self.versions.insert((kind, group), version) == Some(version) {
            return;
        }
        match self.are_definitions_listed {
            true => tracing::info!("watching {} as {group}/{version}", kind.name()),
            false => tracing::debug!("watching {} as {group}/{version}", kind.name()),
        }
        let mut resource = crds::resource(kind, group, version);
        plural.clone_into(&mut resource.plural);
        self.watch_kind(kind, group, resource);
    }

    /// Stops watching a kind. Gives back the scopes that are no more.
    pub(crate) fn unserve(&mut self, kind: Kind, group: &'static str) -> Vec<Scope> {
        self.versions.remove(&(kind, group));
        let is_meant = |scope: &Scope| scope.kind == kind && scope.group == group;
        let gone: Vec<Scope> = self.running.keys().filter(|scope| is_meant(scope)).cloned().collect();
        self.running.retain(|scope, _| !is_meant(scope));
        gone
    }

    /// Watches the Pods that these select and no others. Gives back the scopes that are no more.
    pub(crate) fn select_pods(&mut self, selectors: BTreeMap<Arc<str>, Selectors>) -> Vec<Scope> {
        let pods = std::mem::take(&mut self.pods);
        let scope = |namespace: &Arc<str>| Scope { kind: Kind::Pod, group: "", namespace: Some(namespace.clone()) };
        let gone: Vec<Scope> = pods.keys().filter(|namespace| !selectors.contains_key(*namespace)).map(scope).collect();
        for scope in &gone {
            self.running.remove(scope);
        }
        for (namespace, selectors) in &selectors {
            if pods.get(namespace) != Some(selectors) {
                let (labels, label_filter) = (pods::label_selector(selectors), pods::label_filter(selectors.clone()));
                self.watch(scope(namespace), crds::resource(Kind::Pod, "", "v1"), labels, label_filter);
            }
        }
        self.pods = selectors;
        gone
    }

    fn watch_kind(&mut self, kind: Kind, group: &'static str, resource: ApiResource) {
        let namespaces: Vec<Option<Arc<str>>> = match self.namespaces.as_slice() {
            some @ [_, ..] if kind.is_namespaced() => some.iter().map(|name| Some(name.as_str().into())).collect(),
            _ => vec![None],
        };
        for namespace in namespaces {
            self.watch(Scope { kind, group, namespace }, resource.clone(), None, Arc::new(|_| true));
        }
    }

    /// Begins a watch that replaces the one of the same scope. The former one's objects stay until the new one has listed
    /// everything.
    fn watch(&mut self, scope: Scope, resource: ApiResource, labels: Option<String>, label_filter: LabelFilter) {
        self.next_epoch += 1;
        let epoch = self.next_epoch;
        let api = match &scope.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let default = || NamespaceName::try_from("default").expect("it is a namespace");
        let reader = Arc::new(Reader {
            kind: scope.kind,
            group: scope.group,
            resource,
            origin: self.origin.clone(),
            namespace: scope.namespace.as_deref().and_then(|name| NamespaceName::try_from(name).ok()).unwrap_or_else(default),
        });
        let watch = Watch {
            run: Run { scope: scope.clone(), epoch },
            api,
            reader,
            labels,
            fields: (scope.kind == Kind::Secret).then_some(prune_fields::SECRETS),
            label_filter,
            changes: self.changes.clone(),
            metrics: self.metrics.clone(),
        };
        let task = tokio::spawn(watch.follow()).abort_handle();
        // Only the first list of a scope holds back reports; a watch that replaces another has its objects meanwhile.
        let is_synced = self.running.get(&scope).is_some_and(|running| running.is_synced);
        self.running.insert(scope, Running { epoch, is_synced, task });
    }
}
