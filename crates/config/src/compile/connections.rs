//! TLSRoutes, TCPRoutes and UDPRoutes: from objects to where listeners' connections go, and statuses.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    resources::{
        ObjectKey, TcpRoute, TlsRoute, UdpRoute,
        l4_route::ConnectionRule,
        refs::{BackendRef as Reference, GATEWAY_GROUP},
    },
    snapshot::{BackendRef, Backends, BreakerKey, Failure, Filters, Forward, RouteKind, RouteName},
    status::{Problem, Severity},
};

use super::{
    attach,
    clusters::{Clusters, Load},
    grants::Referrer,
    index::{Index, name_of},
    listener::kind_name,
    policies::{targets::TargetKind, traffic::Traffic},
    routes::{Given, Route, RouteCompiler, hosts, patterns},
    rules::{self, Findings},
    speaks::Speaks,
};

/// A route of one of these kinds.
pub(crate) struct ConnectionRoute<'a> {
    pub(crate) head: Route<'a>,
    rules: &'a [ConnectionRule],
}

/// All of them, the oldest first, whatever their kind.
pub(crate) fn routes<'a>(index: &Index<'a>) -> Vec<ConnectionRoute<'a>> {
    let tls = index.tls_routes.iter().map(tls_route);
    let tcp = index.tcp_routes.iter().map(tcp_route);
    let mut routes: Vec<_> = tls.chain(tcp).chain(index.udp_routes.iter().map(udp_route)).collect();
    routes.sort_by(|a, b| a.head.meta.age_order().cmp(&b.head.meta.age_order()));
    routes
}

fn tls_route(route: &TlsRoute) -> ConnectionRoute<'_> {
    let head = Route::head(RouteKind::Tls, &route.meta, &route.spec.parent_refs, route.spec.unsupported());
    ConnectionRoute { head: Route { hostnames: patterns(&route.spec.hostnames), ..head }, rules: &route.spec.rules }
}

fn tcp_route(route: &TcpRoute) -> ConnectionRoute<'_> {
    let head = Route::head(RouteKind::Tcp, &route.meta, &route.spec.parent_refs, route.spec.unsupported());
    ConnectionRoute { head, rules: &route.spec.rules }
}

fn udp_route(route: &UdpRoute) -> ConnectionRoute<'_> {
    let head = Route::head(RouteKind::Udp, &route.meta, &route.spec.parent_refs, route.spec.unsupported());
    ConnectionRoute { head, rules: &route.spec.rules }
}

impl<'a> RouteCompiler<'_, 'a> {
    /// Compiles one route. Routes must come the oldest first: of two that want the same connections the first has them.
    pub(crate) fn compile_connections(&mut self, route: &ConnectionRoute<'a>) {
        let head = &route.head;
        let attachments = attach::attach(self.clusters.index, self.gateways, head);
        let key = ObjectKey::new(GATEWAY_GROUP, kind_name(head.kind), &head.meta.namespace, &head.meta.name);
        for message in attach::notes(self.clusters.index, self.gateways, head) {
            self.statuses.note(key.clone(), Severity::Error, message);
        }
        if attachments.is_empty() {
            return;
        }
        let mut findings = Findings::default();
        if route.rules.len() > 1 {
            findings
                .ignored
                .insert("spec.rules[1] and those after it, since nothing tells which rule a connection is for".to_owned());
        }
        let listeners = attachments.iter().filter_map(|it| it.listeners.as_ref().ok().map(|list| (it.gateway, list)));
        // Two parentRefs may lead to the same listener.
        let places: BTreeSet<(usize, usize)> =
            listeners.flat_map(|(gateway, list)| list.iter().map(move |place| (gateway, *place))).collect();
        let mut variants: BTreeMap<(Given, Load), Arc<Forward>> = BTreeMap::new();
        for (gateway, place) in &places {
            let given = self.given(*gateway, *place);
            let load = self.load(*gateway, *place);
            let forward =
                variants.entry((given, load)).or_insert_with(|| Arc::new(self.forward(route, given, load, &mut findings)));
            let listener = &mut self.gateways.list[*gateway].listeners[*place];
            listener.attached += 1;
            for host in hosts(head, listener.hostname.as_ref()) {
                listener.forwards.insert_if_free(host, forward.clone());
            }
        }
        if places.is_empty() {
            // Not served, and yet its references are to be judged.
            self.clusters.dry = true;
            let load = if head.kind == RouteKind::Udp { Load::Datagrams } else { Load::Bytes };
            self.forward(route, Given::default(), load, &mut findings);
            self.clusters.dry = false;
        }
        let gateways: BTreeSet<usize> = attachments.iter().filter(|it| it.listeners.is_ok()).map(|it| it.gateway).collect();
        let gateways: Vec<usize> = gateways.into_iter().collect();
        self.clusters.reached(&gateways);
        self.attached.insert((TargetKind::of_route(head.kind), name_of(head.meta)), gateways);
        self.report(key, head, attachments, &findings);
    }

    /// What a listener hands on.
    fn load(&self, gateway: usize, listener: usize) -> Load {
        match self.gateways.list[gateway].listeners[listener].speaks {
            Some(Speaks::TlsPassed) => Load::Sealed,
            Some(Speaks::Udp) => Load::Datagrams,
            _ => Load::Bytes,
        }
    }

    fn forward(&mut self, route: &ConnectionRoute<'a>, given: Given, load: Load, findings: &mut Findings) -> Forward {
        self.identify(given);
        let rule = route.rules.first();
        let name = rules::rule_name(&route.head, 0, rule.and_then(|rule| rule.name.as_deref()));
        let (traffic, failure) = match self.traffic.effective(given.traffic, &name) {
            Ok(traffic) => (traffic, None),
            Err(problem) => (Arc::default(), Some(Failure(format!("BackendTrafficPolicy: {}", problem.message).into()))),
        };
        let closed = self.security.effective(given.security, &name).closed.or(failure);
        let refs = backends(self.clusters, &name, &traffic, load, rule.map_or(&[], |rule| &rule.backend_refs), findings);
        let backends = match closed {
            Some(failure) => Err(failure),
            None if refs.is_empty() => Err(Failure("spec.rules[0] has no backendRefs".into())),
            None => Ok(Backends::new(refs)),
        };
        Forward { route: name, backends, connect: traffic.timeouts().connect, breaker: traffic.breaker() }
    }
}

fn backends(
    clusters: &mut Clusters<'_>,
    name: &RouteName,
    traffic: &Traffic,
    load: Load,
    refs: &[Reference],
    findings: &mut Findings,
) -> Vec<BackendRef> {
    let namespace = name.name.namespace.clone();
    let from = Referrer { group: GATEWAY_GROUP, kind: kind_name(name.kind), namespace: &namespace };
    let refs = refs.iter().enumerate().map(|(place, reference)| {
        let (cluster, fallback) = match clusters.resolve(from, &reference.target(), traffic, load) {
            Ok(resolved) => (resolved.cluster, resolved.fallback),
            Err(problem) => {
                let failure = Failure(problem.message.as_str().into());
                let problem = Problem { message: format!("spec.rules[0].backendRefs[{place}]: {}", problem.message), ..problem };
                if !findings.problems.contains(&problem) {
                    findings.problems.push(problem);
                }
                (Err(failure), false)
            }
        };
        let backend = u16::try_from(place).unwrap_or(u16::MAX);
        let breaker = clusters.breaker(BreakerKey::Backend { route: name.clone(), backend });
        BackendRef { weight: reference.weight, fallback, filters: Filters::default(), cluster, breaker }
    });
    refs.collect()
}
