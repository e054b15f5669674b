//! From objects to a [`Snapshot`], its endpoints, and the status of every object: a pure function, without IO and without a
//! clock. This is where Gateway API lives: attachment, host names, grants, precedence, conflicts.
//!
//! The order of work is the order of the modules below: classes say which Gateways are ours, Gateways give listeners, listeners
//! take routes, routes lead to clusters, and only then is it known what policies and pools reach.

pub(crate) mod index;
mod settings;

pub(crate) mod grants;
mod pem;
mod regexes;
mod warnings;

mod addresses;
mod bundles;
pub(crate) mod class;
mod client_certificates;
mod conflicts;
mod features;
pub(crate) mod gateway;
pub(crate) mod listener;
mod listener_sets;
pub(crate) mod parameters;
mod ports;
mod speaks;

pub(crate) mod attach;
pub(crate) mod connections;
mod extension;
mod filters;
mod matches;
pub(crate) mod routes;
mod rules;

mod authorities;
mod backends;
mod clusters;
mod endpoints;
pub(crate) mod models;
mod one_pool;
mod picker;
mod pools;
mod upstream_tls;

mod others;
mod policies;

use std::{collections::HashMap, sync::Arc};

use crate::{
    resources::Object,
    snapshot::{Endpoints, Snapshot},
    status::Statuses,
    store::Store,
};

pub use one_pool::{OnePool, one_pool};
pub use parameters::parameters;
pub use settings::{CONTROLLER_NAME, DataPlane, ENVOY_GATEWAY_CONTROLLER, Mode, Settings};

use clusters::Clusters;
use gateway::Gateways;
use index::Index;
use policies::{backend::TrafficPolicies, client::ClientSettings, report::Reach, security::SecurityPolicies};
use ports::Kept;
use routes::RouteCompiler;

/// What objects come to. Cloning shares everything.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// What the data plane serves.
    pub snapshot: Arc<Snapshot>,
    /// The endpoints of the snapshot's clusters.
    pub endpoints: Endpoints,
    /// What is said of each object.
    pub statuses: Arc<Statuses>,
}

/// Compiles objects once.
pub fn compile(store: &Store, settings: &Settings) -> Compiled {
    Compiler::new(settings.clone()).update(store)
}

/// Compiles objects again and again, and keeps what has not changed: while nothing but Pods and EndpointSlices change, the
/// snapshot stays the same `Arc`, and so does every group of endpoints that stays equal. The TLS settings of a listener stay the
/// same `Arc` while they are equal.
#[derive(Debug)]
pub struct Compiler {
    settings: Settings,
    last: Option<(Vec<Object>, Compiled)>,
}

impl Compiler {
    /// A compiler that has seen nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, last: None }
    }

    /// Compiles the objects as they are now.
    pub fn update(&mut self, store: &Store) -> Compiled {
        let index = Index::new(store.iter().map(|(_, entry)| &entry.object));
        let inputs: Vec<&Object> = store.iter().map(|(_, entry)| &entry.object).filter(|it| !is_endpoint(it)).collect();
        let unchanged = self.last.as_ref().filter(|(known, _)| same(known, &inputs)).map(|(_, compiled)| compiled);
        let (snapshot, mut statuses) = match unchanged {
            Some(compiled) => (compiled.snapshot.clone(), compiled.statuses.clone()),
            None => {
                let kept = self.last.as_ref().map(|(_, compiled)| Kept::of(&compiled.snapshot)).unwrap_or_default();
                let (snapshot, statuses) = whole(&index, &self.settings, &kept);
                (Arc::new(snapshot), Arc::new(statuses))
            }
        };
        if !statuses.covers(store.iter().map(|(key, _)| key)) {
            Arc::make_mut(&mut statuses).cover(store.iter().map(|(key, _)| key));
        }
        let keys = snapshot.clusters.iter().map(|cluster| &cluster.key.endpoints);
        let previous = self.last.as_ref().map(|(_, compiled)| &compiled.endpoints);
        let endpoints = endpoints::endpoints(&index, &self.settings, keys, previous);
        let compiled = Compiled { snapshot, endpoints, statuses };
        self.last = Some((inputs.into_iter().cloned().collect(), compiled.clone()));
        compiled
    }
}

fn is_endpoint(object: &Object) -> bool {
    matches!(object, Object::Pod(_) | Object::EndpointSlice(_))
}

/// Whether these are the objects that were compiled before, in the order of their keys.
fn same(known: &[Object], now: &[&Object]) -> bool {
    known.len() == now.len() && known.iter().zip(now).all(|(known, now)| known == *now)
}

fn whole(index: &Index<'_>, settings: &Settings, kept: &Kept<'_>) -> (Snapshot, Statuses) {
    let mut statuses = Statuses::default();
    let classes = class::classes(index, settings, &mut statuses);
    let mut gateways = Gateways::new(index, &classes, settings, &mut statuses);
    let clients = ClientSettings::apply(index, &mut gateways);
    if settings.mode == Mode::Standalone {
        ports::claim(&mut gateways);
    }
    let mut traffic = TrafficPolicies::new(index);
    let security = SecurityPolicies::new(index);
    let mut clusters = Clusters::new(index);
    let mut compiler = RouteCompiler {
        gateways: &mut gateways,
        clusters: &mut clusters,
        traffic: &mut traffic,
        security: &security,
        attached: HashMap::new(),
        statuses: &mut statuses,
    };
    for route in routes::routes(index) {
        compiler.compile(&route);
    }
    for route in connections::routes(index) {
        compiler.compile_connections(&route);
    }
    let attached = compiler.attached;
    let reach = Reach { gateways: &gateways, routes: &attached };
    clients.report(&reach, &mut statuses);
    traffic.report(&reach, &mut statuses);
    security.report(&reach, &mut statuses);
    others::report_all(index, &reach, settings.mode, &mut statuses);
    clusters.tls.report(&gateways, &mut statuses);
    clusters.pools.report(&gateways, &mut statuses);
    clusters.pools.models.report(&mut statuses);
    clusters.backends.report(&mut statuses);
    listener_sets::report(index, &gateways, &mut statuses);
    gateways.report(&mut statuses);
    let ports = ports::ports(gateways, &clients, settings.mode, kept);
    let snapshot =
        Snapshot { ports, clusters: clusters.list, breakers: clusters.breakers, base_models: models::base_models(index) };
    (snapshot, statuses)
}
