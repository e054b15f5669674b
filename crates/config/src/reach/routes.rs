//! Routes by the Gateways that they are attached to, and what their rules refer to.

use std::collections::BTreeSet;

use crate::{
    compile::{attach, connections, gateway::Gateways, index::Index, routes},
    resources::{
        GrpcRoute, HttpRoute, Meta, TcpRoute, TlsRoute, UdpRoute,
        grpc_route::GrpcRouteFilter,
        http_filter::HttpRouteFilter,
        l4_route::ConnectionRule,
        refs::{BackendObjectReference, LocalObjectReference},
    },
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

/// The routes of every Gateway, by its place.
pub(super) fn attached<'a>(index: &'a Index, gateways: &Gateways<'a>) -> Vec<Vec<AnyRoute<'a>>> {
    let mut all = vec![Vec::new(); gateways.list.len()];
    let http = index.http_routes.iter().map(|route| (AnyRoute::Http(route), routes::http_route(route)));
    let grpc = index.grpc_routes.iter().map(|route| (AnyRoute::Grpc(route), routes::grpc_route(route)));
    let tls = index.tls_routes.iter().map(|route| (AnyRoute::Tls(route), connections::tls_route(route).head));
    let tcp = index.tcp_routes.iter().map(|route| (AnyRoute::Tcp(route), connections::tcp_route(route).head));
    let udp = index.udp_routes.iter().map(|route| (AnyRoute::Udp(route), connections::udp_route(route).head));
    for (found, route) in http.chain(grpc).chain(tls).chain(tcp).chain(udp) {
        let attached = attach::attach(index, gateways, &route).into_iter().filter(|it| it.listeners.is_ok());
        let places: BTreeSet<usize> = attached.map(|it| it.gateway).collect();
        for place in places {
            all[place].push(found);
        }
    }
    all
}

impl<'a> AnyRoute<'a> {
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
            HttpRouteFilter::ExtensionRef(reference) => self.filters.push(reference.clone()),
            HttpRouteFilter::RequestHeaderModifier(_)
            | HttpRouteFilter::ResponseHeaderModifier(_)
            | HttpRouteFilter::RequestRedirect(_)
            | HttpRouteFilter::UrlRewrite(_)
            | HttpRouteFilter::Cors(_)
            | HttpRouteFilter::ExternalAuth(_) => {}
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
