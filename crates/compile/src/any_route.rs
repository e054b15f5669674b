//! A route of any kind.

use std::sync::Arc;

use crate::{index::Index, route::patterns};
use pailou_api::{GrpcRoute, Hostname, HttpRoute, Meta, Object, TcpRoute, TlsRoute, UdpRoute, refs::ParentReference};
use pailou_snapshot::{HostPattern, Name, RouteKind};

/// A route of any kind.
#[derive(Clone, Debug)]
pub(crate) enum AnyRoute {
    Http(Arc<HttpRoute>),
    Grpc(Arc<GrpcRoute>),
    Tls(Arc<TlsRoute>),
    Tcp(Arc<TcpRoute>),
    Udp(Arc<UdpRoute>),
}

impl AnyRoute {
    pub(crate) fn of(object: &Object) -> Option<Self> {
        match object {
            Object::HttpRoute(route) => Some(Self::Http(route.clone())),
            Object::GrpcRoute(route) => Some(Self::Grpc(route.clone())),
            Object::TlsRoute(route) => Some(Self::Tls(route.clone())),
            Object::TcpRoute(route) => Some(Self::Tcp(route.clone())),
            Object::UdpRoute(route) => Some(Self::Udp(route.clone())),
            _ => None,
        }
    }

    /// The route of a kind and name.
    pub(crate) fn find(index: &Index<'_>, kind: RouteKind, name: &Name) -> Option<Self> {
        let (namespace, name) = (&*name.namespace, &*name.name);
        match kind {
            RouteKind::Http => index.http_routes.shared(namespace, name).cloned().map(Self::Http),
            RouteKind::Grpc => index.grpc_routes.shared(namespace, name).cloned().map(Self::Grpc),
            RouteKind::Tls => index.tls_routes.shared(namespace, name).cloned().map(Self::Tls),
            RouteKind::Tcp => index.tcp_routes.shared(namespace, name).cloned().map(Self::Tcp),
            RouteKind::Udp => index.udp_routes.shared(namespace, name).cloned().map(Self::Udp),
        }
    }

    pub(crate) fn kind(&self) -> RouteKind {
        match self {
            Self::Http(_) => RouteKind::Http,
            Self::Grpc(_) => RouteKind::Grpc,
            Self::Tls(_) => RouteKind::Tls,
            Self::Tcp(_) => RouteKind::Tcp,
            Self::Udp(_) => RouteKind::Udp,
        }
    }

    pub(crate) fn parents(&self) -> &[ParentReference] {
        match self {
            Self::Http(route) => &route.spec.parent_refs,
            Self::Grpc(route) => &route.spec.parent_refs,
            Self::Tls(route) => &route.spec.parent_refs,
            Self::Tcp(route) => &route.spec.parent_refs,
            Self::Udp(route) => &route.spec.parent_refs,
        }
    }

    pub(crate) fn meta(&self) -> &Meta {
        match self {
            Self::Http(route) => &route.meta,
            Self::Grpc(route) => &route.meta,
            Self::Tls(route) => &route.meta,
            Self::Tcp(route) => &route.meta,
            Self::Udp(route) => &route.meta,
        }
    }

    /// Its place among all.
    pub(crate) fn order(&self) -> impl Ord + use<'_> {
        let is_for_connections = !matches!(self, Self::Http(_) | Self::Grpc(_));
        (is_for_connections, self.meta().age_order(), self.kind())
    }

    pub(crate) fn address(&self) -> usize {
        match self {
            Self::Http(route) => Arc::as_ptr(route).addr(),
            Self::Grpc(route) => Arc::as_ptr(route).addr(),
            Self::Tls(route) => Arc::as_ptr(route).addr(),
            Self::Tcp(route) => Arc::as_ptr(route).addr(),
            Self::Udp(route) => Arc::as_ptr(route).addr(),
        }
    }
}

impl AnyRoute {
    /// The host names that it is for.
    pub(crate) fn patterns(&self) -> Vec<HostPattern> {
        let hostnames: &[Hostname] = match self {
            Self::Http(route) => &route.spec.hostnames,
            Self::Grpc(route) => &route.spec.hostnames,
            Self::Tls(route) => &route.spec.hostnames,
            Self::Tcp(_) | Self::Udp(_) => &[],
        };
        patterns(hostnames)
    }
}
