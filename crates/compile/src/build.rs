//! Everything put together, of what is remembered and what has to be compiled anew.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    status::{Status, StatusBody, Statuses},
    store::Change,
};
use pailou_api::{
    ObjectKey,
    refs::{GATEWAY_GROUP, ParentReference},
};
use pailou_snapshot::{Cluster, Snapshot};

use super::{
    class,
    cluster_ids::ClusterIds,
    clusters::Clusters,
    external_auth,
    gateway::Gateways,
    gateway_logs,
    gateway_metrics::{self, GatewayMetrics},
    gateway_traces,
    ids::PolicyId,
    index::{Index, Objects, Reads, Touched},
    limit_backend,
    listener::kind_name,
    listener_set_status,
    llm_costs::{self, CostCache},
    models,
    order::Order,
    output::{Effect, Effects, Output},
    policies::effective::RoutePolicies,
    policies::{
        ancestors::Reach, backend::TrafficPolicies, client::ClientSettings, extensions::ExtensionPolicies,
        security::SecurityPolicies, targets::Target,
    },
    ports::{self, Kept},
    remote_documents,
    resolver::Resolver,
    route_compiler::RouteCompiler,
    settings::{Mode, Settings},
    tables::Tables,
    unsupported_kinds,
};

/// State that a compilation leaves for the next.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) routes: Order,
    effects: Effects,
    tables: Tables,
    cluster_ids: ClusterIds,
    /// Lookups for the part that all routes share.
    shared: Reads,
    /// Further lookups: for the winner of each target, and for the statuses of all other objects.
    claim_and_report_reads: [Reads; 2],
    /// Winners of each target: of BackendTrafficPolicies, SecurityPolicies and EnvoyExtensionPolicies.
    winners: [Winners; 3],
    /// Statuses of objects that are neither routes nor ListenerSets.
    said: Statuses,
    /// Statuses of ListenerSets.
    sets: Statuses,
    shared_statuses: SharedStatuses,
    costs: CostCache,
}

/// Most routes share their status with others of the same parents: it exists once.
#[derive(Debug, Default)]
struct SharedStatuses(HashMap<Vec<ParentReference>, Arc<Status>>);

/// Most lists of parents that are remembered.
const MAX_SHARED_STATUSES: usize = 10_000;

type Winners = HashMap<Target, PolicyId>;

/// Result of a compilation.
pub(crate) struct BuildOutput {
    pub(crate) snapshot: Snapshot,
    /// New statuses; all other objects keep theirs.
    pub(crate) news: News,
}

type News = Vec<(Arc<ObjectKey>, Arc<Status>)>;

/// Outputs of routes that are of no use any more, and new ones.
#[derive(Default)]
struct RouteChanges {
    gone: Vec<Arc<Output>>,
    come: Vec<Arc<Output>>,
    statuses: News,
    /// Whether that is all of them.
    is_anew: bool,
}

/// State that all routes share.
struct Shared<'a> {
    gateways: Gateways<'a>,
    clients: ClientSettings<'a>,
    traffic: TrafficPolicies<'a>,
    security: SecurityPolicies<'a>,
    extensions: ExtensionPolicies<'a>,
    clusters: Clusters<'a>,
    /// Clusters of the authorization servers of listeners.
    authorizers: Vec<Arc<Cluster>>,
    /// Clusters of the collectors of traces and logs.
    collectors: Vec<Arc<Cluster>>,
    /// Metrics of the process.
    metrics: GatewayMetrics,
}

impl<'a> Shared<'a> {
    fn new(index: &Index<'a>, settings: &'a Settings, cluster_ids: ClusterIds, statuses: &mut Statuses) -> Self {
        let classes = class::classes(index, settings, statuses);
        let mut gateways = Gateways::new(index, &classes, settings, statuses);
        let clients = ClientSettings::apply(index, &mut gateways);
        if settings.mode == Mode::Standalone {
            ports::claim(&mut gateways);
        }
        let (traffic, security) = (TrafficPolicies::new(index), SecurityPolicies::new(index));
        let extensions = ExtensionPolicies::new(index);
        let mut clusters = Clusters::new(index, cluster_ids);
        let authorizers = external_auth::of_listeners(index, &mut gateways, &mut clusters);
        let mut collectors = gateway_traces::of_gateways(index, &mut gateways, &mut clusters);
        collectors.extend(gateway_logs::of_gateways(index, &mut gateways, &mut clusters));
        let metrics = gateway_metrics::of_gateways(index, &mut gateways, &mut clusters);
        collectors.extend(metrics.clusters.iter().cloned());
        Self { gateways, clients, traffic, security, extensions, clusters, authorizers, collectors, metrics }
    }

    /// Distributes the targets of policies for routes.
    fn claim(&mut self, index: &Index<'_>) -> [Winners; 3] {
        [self.traffic.claim(index).clone(), self.security.claim(index).clone(), self.extensions.claim(index).clone()]
    }
}

impl Memory {
    /// Compiles. `before` is the last snapshot: TLS settings that stay equal are kept as they are.
    pub(crate) fn compile(
        &mut self,
        objects: &Objects,
        settings: &Settings,
        (changes, touched, are_planes_new): (&[Change], &Touched, bool),
        before: &Snapshot,
    ) -> BuildOutput {
        let mut said = Statuses::default();
        let cluster_ids = std::mem::take(&mut self.cluster_ids);
        let (mut shared, shared_reads) = objects.track(|index| Shared::new(index, settings, cluster_ids, &mut said));
        // Which routes are selected changes with every route: the outcome is compared, not what was looked at.
        let (winners, claim_reads) = objects.track(|index| shared.claim(index));
        let difference = self.routes(objects, &mut shared, (changes, touched), winners);
        self.shared = shared_reads;
        let Shared {
            mut gateways,
            mut clients,
            mut traffic,
            mut security,
            mut extensions,
            mut clusters,
            authorizers,
            collectors,
            metrics,
        } = shared;
        self.tables.change(&difference.gone, &difference.come, &gateways);
        report_effects(&self.effects, &mut gateways, &mut clusters, (&mut traffic, &mut security, &mut extensions));

        let ((sets, base_models, identity_headers, (limit_store, limit_service)), report_reads) = objects.track(|index| {
            // No route depends on them.
            llm_costs::apply(index, &mut gateways, &mut self.costs, &mut said);
            let counting = match (&settings.limit_store, &settings.limit_service) {
                (_, Some(service)) => (None, Some(service.clone())),
                (Some(store), None) => (Some(store.clone()), None),
                (None, None) => limit_backend::for_snapshot(index),
            };
            let has_limit_store = counting.0.is_some() || counting.1.is_some();
            let reach = Reach { gateways: &gateways, index, routes: &self.routes, has_limit_store };
            clients.report(&reach, &mut said);
            traffic.report(&reach, &mut said);
            security.report(&reach, &mut said);
            extensions.report(&reach, &mut said);
            let merged = self.effects.iter().filter_map(|(effect, _)| match effect {
                Effect::Identity { listener, header } => Some((*listener, header.clone())),
                _ => None,
            });
            let identity_headers = security.identity_headers(&reach, merged);
            unsupported_kinds::report_all(index, settings.mode, &mut said);
            clusters.tls.report(&gateways, &mut said);
            clusters.pools.report(&gateways, &mut said);
            clusters.pools.models.report(&mut said);
            clusters.backends.report(&mut said);
            gateways.report(&mut said);
            let before = self.sets.clone();
            report_sets(&mut self.sets, (index, &gateways), &difference, are_planes_new);
            (self.sets.news_since(&before), models::base_models(index), identity_headers, counting)
        });
        for (listener, headers) in identity_headers {
            gateways[listener].identity_headers = headers.into();
        }
        let ports = ports::ports(gateways, &clients, &self.tables, settings.mode, &Kept::of(before));
        self.cluster_ids = clusters.cluster_ids;
        let mut all = self.cluster_ids.clusters.clone();
        // No route refers to these by number.
        for cluster in authorizers.into_iter().chain(collectors) {
            if !self.cluster_ids.has(&cluster.key) && all.iter().all(|known| known.key != cluster.key) {
                all.push(cluster);
            }
        }
        let documents = remote_documents::distinct(self.effects.documents());
        let session_cookies = self.effects.session_cookies();
        let breakers = self.cluster_ids.breakers.clone();
        let snapshot = Snapshot {
            ports,
            clusters: all,
            breakers,
            documents,
            session_cookies,
            base_models,
            limit_store,
            limit_service,
            metric_sinks: metrics.sinks,
            hides_prometheus: metrics.hides_prometheus,
            prometheus_compression: metrics.compression,
        };
        self.claim_and_report_reads = [claim_reads, report_reads];
        BuildOutput { snapshot, news: self.news(said, difference.statuses.into_iter().chain(sets)) }
    }

    /// Whether anything that was looked up has changed. Of most clusters' Services, Secrets and ConfigMaps no Gateway knows.
    pub(crate) fn is_touched(&self, touched: &Touched) -> bool {
        [&self.shared].into_iter().chain(&self.claim_and_report_reads).any(|reads| reads.are_touched(touched))
            || self.routes.is_touched(touched)
    }

    /// Compiles the routes that have to be.
    fn routes<'a>(
        &mut self,
        objects: &'a Objects,
        shared: &mut Shared<'a>,
        (changes, touched): (&[Change], &Touched),
        winners: [Winners; 3],
    ) -> RouteChanges {
        let Shared { gateways, traffic, security, extensions, clusters, .. } = shared;
        let (mut gone, mut start) = self.routes.apply(changes, clusters.cluster_ids.count());
        let changed = changed_targets(&self.winners, &winners);
        // At first nothing has been looked up.
        let mut is_anew = self.routes.slots.iter().all(|slot| slot.output.is_none());
        self.winners = winners;
        if self.shared.are_touched(touched) || changed.iter().any(|target| target.kind.route().is_none()) {
            is_anew = true;
            start = self.routes.forget_all();
            gone.clear();
            self.effects = Effects::default();
            self.tables = Tables::default();
        }
        gone.extend(self.routes.forget_touched(touched, &mut start));
        for target in &changed {
            let kind = target.kind.route();
            let mut forget = |index: &Index<'_>| self.routes.forget_one(index, kind?, &target.name, &mut start);
            // No output depends on this lookup.
            gone.extend(objects.track(|index| forget(index)).0);
        }
        clusters.cluster_ids.truncate(start.count);
        let mut difference = RouteChanges { gone, is_anew, ..RouteChanges::default() };
        for place in start.place..self.routes.routes.len() {
            let slot = &mut self.routes.slots[place];
            slot.count = clusters.cluster_ids.count();
            if slot.output.as_ref().is_some_and(|output| clusters.cluster_ids.repeat(&output.used)) {
                continue;
            }
            difference.gone.extend(slot.output.take());
            let route = &self.routes.routes[place];
            let ((output, status), reads) = objects.track(|index| {
                let resolver = Resolver::new(index, clusters);
                let policies = RoutePolicies::new(traffic, security, extensions);
                RouteCompiler { gateways, policies, resolver }.compile(route)
            });
            let output = Arc::new(output);
            self.effects.add(&output);
            let meta = route.meta();
            let key = ObjectKey::new(GATEWAY_GROUP, kind_name(route.kind()), &meta.namespace, &meta.name);
            difference.statuses.push((Arc::new(key), self.shared_statuses.share(status)));
            difference.come.push(output.clone());
            self.routes.remember(place, output, reads);
        }
        difference.gone.iter().for_each(|output| self.effects.remove(output));
        difference
    }

    /// Every object whose status may have come, changed or gone.
    fn news(&mut self, said: Statuses, others: impl Iterator<Item = (Arc<ObjectKey>, Arc<Status>)>) -> News {
        let nothing = Arc::<Status>::default();
        let silent = self.said.shared().filter(|(key, _)| !said.contains(key)).map(|(key, _)| (key.clone(), nothing.clone()));
        let said_now = said.shared().map(|(key, status)| (key.clone(), status.clone()));
        let news = silent.chain(said_now).chain(others).collect();
        self.said = said;
        news
    }
}

impl SharedStatuses {
    fn share(&mut self, status: Status) -> Arc<Status> {
        let StatusBody::Route { parents } = &status.body else { return Arc::new(status) };
        let parents: Vec<_> = parents.iter().map(|parent| parent.parent_ref.clone()).collect();
        if let Some(known) = self.0.get(&parents).filter(|known| ***known == status) {
            return known.clone();
        }
        if self.0.len() >= MAX_SHARED_STATUSES {
            self.0.clear();
        }
        let status = Arc::new(status);
        self.0.insert(parents, status.clone());
        status
    }
}

/// Puts the ListenerSets' statuses in order. While nothing has changed but routes, those are how many routes are attached, and only the
/// ListenerSets are looked at of which another number of routes is attached. Whether they are programmed is a matter of their Gateway's
/// data plane.
fn report_sets(
    sets: &mut Statuses,
    (index, gateways): (&Index<'_>, &Gateways<'_>),
    difference: &RouteChanges,
    are_planes_new: bool,
) {
    if difference.is_anew || are_planes_new {
        *sets = Statuses::default();
        listener_set_status::report(index, gateways, sets);
    } else {
        let listeners = difference.gone.iter().chain(&difference.come).flat_map(|output| output.counted()).collect();
        listener_set_status::report_counts(gateways, &listeners, sets);
    }
}

/// The targets that another policy has than before, or none.
fn changed_targets(before: &[Winners; 3], now: &[Winners; 3]) -> HashSet<Target> {
    let mut changed = HashSet::new();
    for (before, now) in before.iter().zip(now) {
        let differs = |target: &&Target| before.get(*target) != now.get(*target);
        changed.extend(before.keys().chain(now.keys()).filter(differs).cloned());
    }
    changed
}

/// Reports its effects on other objects' statuses.
fn report_effects(
    effects: &Effects,
    gateways: &mut Gateways<'_>,
    clusters: &mut Clusters<'_>,
    (traffic, security, extensions): (&mut TrafficPolicies<'_>, &mut SecurityPolicies<'_>, &mut ExtensionPolicies<'_>),
) {
    for (effect, count) in effects.iter() {
        match effect {
            Effect::Attached(listener) => gateways[*listener].attached = *count,
            Effect::TlsPolicy { policy, gateway } => clusters.tls.reached(*policy, *gateway),
            Effect::Pool { pool, gateway } => clusters.pools.reached(*pool, *gateway),
            Effect::Traffic(overlap) => traffic.overlap(overlap),
            Effect::Security(overlap) => security.overlap(overlap),
            Effect::Extensions(overlap) => extensions.overlap(overlap),
            Effect::Identity { .. } | Effect::Document(_) | Effect::Sessions(_) => {}
        }
    }
}
