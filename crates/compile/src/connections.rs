//! TLSRoutes, TCPRoutes and UDPRoutes: from objects to where listeners' connections go, and statuses.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::status::{Problem, Status};
use pailou_api::{
    TcpRoute, TlsRoute, UdpRoute,
    l4_route::ConnectionRule,
    refs::{BackendRef as Reference, GATEWAY_GROUP},
};
use pailou_snapshot::{BackendRef, Backends, BreakerKey, Failure, Filters, Forward, RouteKind, RouteName};

use super::{
    any_route::AnyRoute,
    attach,
    grants::Referrer,
    ids::ListenerId,
    listener::kind_name,
    listener_protocol::ListenerProtocol,
    output::{Output, RouteListener},
    policies::{effective::RulePolicies, traffic::Traffic},
    resolver::{Load, Resolver},
    route::{Route, patterns, rule_name},
    route_compiler::{Given, RouteCompiler, gateways_of, listeners_of},
    rule_context::Findings,
};

/// A route of one of these kinds.
pub(crate) struct ConnectionRoute<'a> {
    pub(crate) head: Route<'a>,
    rules: &'a [ConnectionRule],
}

pub(crate) fn tls_route(route: &TlsRoute) -> ConnectionRoute<'_> {
    let head = Route::head(RouteKind::Tls, &route.meta, &route.spec.parent_refs, route.spec.unsupported());
    ConnectionRoute { head: Route { hostnames: patterns(&route.spec.hostnames), ..head }, rules: &route.spec.rules }
}

pub(crate) fn tcp_route(route: &TcpRoute) -> ConnectionRoute<'_> {
    let head = Route::head(RouteKind::Tcp, &route.meta, &route.spec.parent_refs, route.spec.unsupported());
    ConnectionRoute { head, rules: &route.spec.rules }
}

pub(crate) fn udp_route(route: &UdpRoute) -> ConnectionRoute<'_> {
    let head = Route::head(RouteKind::Udp, &route.meta, &route.spec.parent_refs, route.spec.unsupported());
    ConnectionRoute { head, rules: &route.spec.rules }
}

impl RouteCompiler<'_, '_> {
    /// Compiles one route for connections.
    pub(crate) fn compile_connections(&mut self, object: &AnyRoute, route: &ConnectionRoute<'_>) -> (Output, Status) {
        let head = &route.head;
        let attachments = attach::attach(self.resolver.index, self.gateways, head);
        let mut output = Output::nothing(object.clone());
        let mut status = self.noted(head);
        if attachments.is_empty() {
            return (output, status);
        }
        let mut findings = Findings::default();
        if route.rules.len() > 1 {
            findings
                .ignored
                .insert("spec.rules[1] and those after it, since nothing tells which rule a connection is for".to_owned());
        }
        let listeners: BTreeSet<ListenerId> = listeners_of(&attachments).into_iter().collect();
        let mut forms: BTreeMap<(Given, Load), usize> = BTreeMap::new();
        for listener in listeners {
            let (given, load) = (self.given(listener), self.load(listener));
            let form = *forms.entry((given, load)).or_insert_with(|| {
                output.forwards.push(Arc::new(self.forward(route, given, load, &mut findings)));
                output.forwards.len() - 1
            });
            output.places.push(RouteListener { listener, form });
        }
        if forms.is_empty() {
            // Not served, and yet its references are to be judged.
            self.resolver.is_dry = true;
            let load = if head.kind == RouteKind::Udp { Load::Datagrams } else { Load::Bytes };
            self.forward(route, Given::default(), load, &mut findings);
        }
        output.count();
        output.gateways = gateways_of(&attachments);
        status.body = self.parents(head, attachments, &findings);
        (output, status)
    }

    /// Load that a listener forwards.
    fn load(&self, listener: ListenerId) -> Load {
        match self.gateways[listener].protocol {
            Some(ListenerProtocol::TlsPassthrough) => Load::Sealed,
            Some(ListenerProtocol::Udp) => Load::Datagrams,
            _ => Load::Bytes,
        }
    }

    fn forward(&mut self, route: &ConnectionRoute<'_>, given: Given, load: Load, findings: &mut Findings) -> Forward {
        self.identify(given);
        let rule = route.rules.first();
        let name = rule_name(&route.head, 0, rule.and_then(|rule| rule.name.as_deref()));
        let RulePolicies { traffic, security, processors, failure } =
            self.policies.of_rule(self.resolver.index, given.policies, &name);
        // A processor sees requests of HTTP, and nothing of a connection.
        let guard = processors.first_guard().map(|field| {
            Failure(
                format!("EnvoyExtensionPolicy: {field}: an external processor sees requests of HTTP, and this is no route of them")
                    .into(),
            )
        });
        let authorization = match security.for_connections() {
            // Datagrams have no beginning at which a client could be refused.
            Ok(Some(_)) if load == Load::Datagrams => {
                Err(Failure("SecurityPolicy authorization cannot be enforced for datagrams".into()))
            }
            other => other,
        };
        let closed = authorization.as_ref().err().cloned().or(failure).or(guard);
        let refs = backends(&mut self.resolver, &name, &traffic, load, rule.map_or(&[], |rule| &rule.backend_refs), findings);
        let backends = match closed {
            Some(failure) => Err(failure),
            None if refs.is_empty() => Err(Failure("spec.rules[0] has no backendRefs".into())),
            None => Ok(Backends::new(refs)),
        };
        let policy = traffic.rule();
        Forward {
            route: name,
            backends,
            authorization: authorization.unwrap_or_default(),
            connect: policy.timeouts.connect,
            breaker: policy.breaker.clone(),
        }
    }
}

fn backends(
    resolver: &mut Resolver<'_, '_>,
    name: &RouteName,
    traffic: &Traffic,
    load: Load,
    refs: &[Reference],
    findings: &mut Findings,
) -> Vec<BackendRef> {
    let namespace = name.name.namespace.clone();
    let from = Referrer { group: GATEWAY_GROUP, kind: kind_name(name.kind), namespace: &namespace };
    let refs = refs.iter().enumerate().map(|(place, reference)| {
        let (cluster, fallback) = match resolver.resolve(from, &reference.target(), traffic, load) {
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
        let breaker = resolver.breaker(BreakerKey::Backend { route: name.clone(), backend });
        BackendRef { weight: reference.weight, fallback, filters: Filters::default().shared(), cluster, breaker, limits: None }
    });
    refs.collect()
}
