//! The parts of a controller, put together.

use std::sync::Arc;

use kube::Client;
use pailou_api::NamespaceName;
use pailou_compile::Settings;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    cluster_state::{ClusterState, CompiledState},
    events::Events,
    leader::{self, Leadership},
    metrics::Metrics,
    source::{collect::Collector, compile, crds, object_cache::ObjectCache, scopes::Scopes, status_cache::StatusCache},
    status::writer::Writer,
};

/// Changes that wait for the collector; watches wait when there are more.
const CHANGES: usize = 1024;

/// Options of a controller.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespaces that are watched; all where there are none.
    pub namespaces: Vec<NamespaceName>,
    /// The API server's address, for messages.
    pub origin: Arc<str>,
    /// The compiler's first settings. Their mode should be [`Mode::Cluster`](pailou_compile::Mode::Cluster).
    pub settings: Settings,
    /// The Lease that replicas compete for.
    pub lease: leader::Options,
}

/// A running controller. It ends when it is dropped; [`stop`](Self::stop) gives the lease back first.
#[derive(Debug)]
pub struct Controller {
    settings: watch::Sender<Settings>,
    known: watch::Receiver<Option<ClusterState>>,
    published: watch::Receiver<Option<CompiledState>>,
    leadership: Leadership,
    elector: leader::Elector,
    metrics: Arc<Metrics>,
    tasks: JoinSet<()>,
}

impl Controller {
    /// Begins to watch, to compile and, as leader, to write statuses. Needs the runtime.
    pub fn start(client: Client, options: Options) -> Self {
        let metrics = Arc::new(Metrics::default());
        let status_cache = Arc::new(StatusCache::default());
        let (settings, settings_updates) = watch::channel(options.settings);
        let (learn, known) = watch::channel(None);
        let (publish, published) = watch::channel(None);
        let (send, changes) = mpsc::channel(CHANGES);
        let mut tasks = JoinSet::new();
        tasks.spawn(crds::follow(client.clone(), send.clone()));
        let elector = leader::Elector::start(client.clone(), options.lease.clone(), metrics.clone());
        let leadership = elector.leadership();
        let identity = &options.lease.identity;
        let (events, publishing) = Events::new(client.clone(), identity, leadership.clone(), metrics.clone());
        tasks.spawn(publishing);
        let (read, lead, report) = (published.clone(), leadership.clone(), events.clone());
        tasks.spawn(Writer::new(client.clone(), read, status_cache.clone(), lead, report, metrics.clone()).run());
        let mut scopes = Scopes::new(client, options.namespaces, options.origin, send, metrics.clone());
        scopes.watch_built_in();
        let object_cache = ObjectCache::new(settings.borrow().controllers.clone(), status_cache, events, metrics.clone());
        tasks.spawn(compile::follow(known.clone(), publish, leadership.clone(), metrics.clone()));
        tasks.spawn(Collector::new(scopes, changes, settings_updates, learn, object_cache).run());
        Self { settings, known, published, leadership, elector, metrics, tasks }
    }

    /// The objects before compilation; `None` until the first lists are complete.
    pub fn known(&self) -> watch::Receiver<Option<ClusterState>> {
        self.known.clone()
    }

    /// The objects and their compilation; `None` while this replica does not lead, or the first lists are incomplete.
    pub fn published(&self) -> watch::Receiver<Option<CompiledState>> {
        self.published.clone()
    }

    /// Whether this replica leads: only then may it write.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// The replica that leads, by its name in the Lease; empty until it is known.
    pub fn leader(&self) -> watch::Receiver<String> {
        self.elector.holder()
    }

    /// The compiler's settings. A change, such as a data plane that has come up, makes the controller compile anew. Values of
    /// `controllerName` stay as they were at the start.
    pub fn settings(&self) -> &watch::Sender<Settings> {
        &self.settings
    }

    /// The controller's metrics.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Stops writing, gives the lease back, and ends.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        self.elector.stop().await;
    }
}
