//! Routes by the Gateways that they are attached to.

use std::collections::{BTreeMap, BTreeSet};

use crate::{attach, connections, gateway::Gateways, ids::GatewayId, index::Index, route};
use pailou_api::{
    GrpcRoute, HttpRoute, Meta, Object, TcpRoute, TlsRoute, UdpRoute,
    references::{Reference, References},
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
            Self::Http(route) => route::http_route(route),
            Self::Grpc(route) => route::grpc_route(route),
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
}

impl References for AnyRoute<'_> {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        match self {
            Self::Http(route) => route.references(visit),
            Self::Grpc(route) => route.references(visit),
            Self::Tls(route) => route.references(visit),
            Self::Tcp(route) => route.references(visit),
            Self::Udp(route) => route.references(visit),
        }
    }
}
