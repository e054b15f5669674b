//! Routes by the Gateways that they are attached to, and what their rules refer to.

use std::collections::{BTreeMap, BTreeSet};

use crate::{attach, connections, gateway::Gateways, ids::GatewayId, index::Index, routes};
use pailou_api::{
    GrpcRoute, HttpRoute, Meta, Object, TcpRoute, TlsRoute, UdpRoute,
    grpc_route::GrpcRouteFilter,
    http_filter::HttpRouteFilter,
    l4_route::ConnectionRule,
    refs::{BackendObjectReference, LocalObjectReference},
};

/// A route of any kind.
#[derive(Clone, Copy)]
pub(super) enum AnyRoute<'a> {
    Http(&'a HttpRoute),
    Grpc(&'a GrpcRoute),
    Tls(&'a TlsRoute),
    Tcp(&'a TcpRoute),
    Udp(&'a UdpRoute),
}

/// What a route refers to.
#[derive(Default)]
pub(super) struct References {
    pub(super) backends: Vec<BackendObjectReference>,
    pub(super) filters: Vec<LocalObjectReference>,
}

/// All routes.
pub(super) fn all<'a>(index: &Index<'a>) -> impl Iterator<Item = AnyRoute<'a>> + use<'a> {
    let http = index.http_routes.iter().map(AnyRoute::Http);
    let grpc = index.grpc_routes.iter().map(AnyRoute::Grpc);
    let tls = index.tls_routes.iter().map(AnyRoute::Tls);
    let tcp = index.tcp_routes.iter().map(AnyRoute::Tcp);
    let udp = index.udp_routes.iter().map(AnyRoute::Udp);
    http.chain(grpc).chain(tls).chain(tcp).chain(udp)
}

/// The routes of every Gateway that has any.
pub(super) fn attached<'a>(index: &Index<'a>, gateways: &Gateways<'a>) -> BTreeMap<GatewayId, Vec<AnyRoute<'a>>> {
    let mut attached: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for route in all(index) {
        for gateway in route.gateways(index, gateways) {
            attached.entry(gateway).or_default().push(route);
        }
    }
    attached
}

impl<'a> AnyRoute<'a> {
    /// An object, where it is a route.
    pub(super) fn of(object: &'a Object) -> Option<Self> {
        match object {
            Object::HttpRoute(route) => Some(Self::Http(route)),
            Object::GrpcRoute(route) => Some(Self::Grpc(route)),
            Object::TlsRoute(route) => Some(Self::Tls(route)),
            Object::TcpRoute(route) => Some(Self::Tcp(route)),
            Object::UdpRoute(route) => Some(Self::Udp(route)),
            _ => None,
        }
    }

    /// The Gateways that it is attached to.
    pub(super) fn gateways(self, index: &Index<'_>, gateways: &Gateways<'_>) -> BTreeSet<GatewayId> {
        let route = match self {
            Self::Http(route) => routes::http_route(route),
            Self::Grpc(route) => routes::grpc_route(route),
            Self::Tls(route) => connections::tls_route(route).head,
            Self::Tcp(route) => connections::tcp_route(route).head,
            Self::Udp(route) => connections::udp_route(route).head,
        };
        let attached = attach::attach(index, gateways, &route).into_iter().filter(|it| it.listeners.is_ok());
        attached.map(|it| it.gateway).collect()
    }

    /// The kind by its name, and the metadata.
    pub(super) fn identity(self) -> (&'static str, &'a Meta) {
        match self {
            Self::Http(route) => ("HTTPRoute", &route.meta),
            Self::Grpc(route) => ("GRPCRoute", &route.meta),
            Self::Tls(route) => ("TLSRoute", &route.meta),
            Self::Tcp(route) => ("TCPRoute", &route.meta),
            Self::Udp(route) => ("UDPRoute", &route.meta),
        }
    }

    /// What its rules refer to.
    pub(super) fn references(self) -> References {
        let mut all = References::default();
        match self {
            Self::Http(route) => {
                for rule in &route.spec.rules {
                    rule.filters.iter().for_each(|filter| all.http(filter));
                    for backend in &rule.backend_refs {
                        all.backends.push(backend.target());
                        backend.filters.iter().for_each(|filter| all.http(filter));
                    }
                }
            }
            Self::Grpc(route) => {
                for rule in &route.spec.rules {
                    rule.filters.iter().for_each(|filter| all.grpc(filter));
                    for backend in &rule.backend_refs {
                        all.backends.push(backend.target());
                        backend.filters.iter().for_each(|filter| all.grpc(filter));
                    }
                }
            }
            Self::Tls(route) => all.connections(&route.spec.rules),
            Self::Tcp(route) => all.connections(&route.spec.rules),
            Self::Udp(route) => all.connections(&route.spec.rules),
        }
        all
    }
}

impl References {
    fn http(&mut self, filter: &HttpRouteFilter) {
        match filter {
            HttpRouteFilter::RequestMirror(mirror) => self.backends.push(mirror.backend_ref.clone()),
            HttpRouteFilter::ExternalAuth(auth) => self.backends.push(auth.backend_ref.clone()),
            HttpRouteFilter::ExtensionRef(reference) => self.filters.push(reference.clone()),
            HttpRouteFilter::RequestHeaderModifier(_)
            | HttpRouteFilter::ResponseHeaderModifier(_)
            | HttpRouteFilter::RequestRedirect(_)
            | HttpRouteFilter::UrlRewrite(_)
            | HttpRouteFilter::Cors(_) => {}
        }
    }

    fn grpc(&mut self, filter: &GrpcRouteFilter) {
        match filter {
            GrpcRouteFilter::RequestMirror(mirror) => self.backends.push(mirror.backend_ref.clone()),
            GrpcRouteFilter::ExtensionRef(reference) => self.filters.push(reference.clone()),
            GrpcRouteFilter::RequestHeaderModifier(_) | GrpcRouteFilter::ResponseHeaderModifier(_) => {}
        }
    }

    fn connections(&mut self, rules: &[ConnectionRule]) {
        self.backends.extend(rules.iter().flat_map(|rule| &rule.backend_refs).map(|backend| backend.target()));
    }
}
