//! References of routes.

use super::{Reference, References, Referrer};
use crate::{
    GrpcRoute, HttpRoute, Kind, Meta, TcpRoute, TlsRoute, UdpRoute, grpc_route::GrpcRouteFilter, http_filter::HttpRouteFilter,
    l4_route::ConnectionRule, refs::GATEWAY_GROUP,
};

fn referrer<'a>(kind: Kind, meta: &'a Meta) -> Referrer<'a> {
    Referrer { group: GATEWAY_GROUP, kind: kind.name(), namespace: &meta.namespace }
}

impl References for HttpRoute {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = referrer(Kind::HttpRoute, &self.meta);
        for rule in &self.spec.rules {
            rule.filters.iter().filter_map(|filter| http_filter(from, filter)).for_each(&mut *visit);
            for backend in &rule.backend_refs {
                visit_backend(from, &backend.target(), visit);
                backend.filters.iter().filter_map(|filter| http_filter(from, filter)).for_each(&mut *visit);
            }
        }
    }
}

fn http_filter<'a>(from: Referrer<'a>, filter: &'a HttpRouteFilter) -> Option<Reference<'a>> {
    match filter {
        HttpRouteFilter::RequestMirror(mirror) => Reference::backend(from, &mirror.backend_ref),
        HttpRouteFilter::ExternalAuth(auth) => Reference::backend(from, &auth.backend_ref),
        HttpRouteFilter::ExtensionRef(reference) => Reference::local(from, reference, Kind::EnvoyHttpRouteFilter),
        HttpRouteFilter::RequestHeaderModifier(_)
        | HttpRouteFilter::ResponseHeaderModifier(_)
        | HttpRouteFilter::RequestRedirect(_)
        | HttpRouteFilter::UrlRewrite(_)
        | HttpRouteFilter::Cors(_) => None,
    }
}

impl References for GrpcRoute {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = referrer(Kind::GrpcRoute, &self.meta);
        for rule in &self.spec.rules {
            rule.filters.iter().filter_map(|filter| grpc_filter(from, filter)).for_each(&mut *visit);
            for backend in &rule.backend_refs {
                visit_backend(from, &backend.target(), visit);
                backend.filters.iter().filter_map(|filter| grpc_filter(from, filter)).for_each(&mut *visit);
            }
        }
    }
}

fn grpc_filter<'a>(from: Referrer<'a>, filter: &'a GrpcRouteFilter) -> Option<Reference<'a>> {
    match filter {
        GrpcRouteFilter::RequestMirror(mirror) => Reference::backend(from, &mirror.backend_ref),
        GrpcRouteFilter::ExtensionRef(reference) => Reference::local(from, reference, Kind::EnvoyHttpRouteFilter),
        GrpcRouteFilter::RequestHeaderModifier(_) | GrpcRouteFilter::ResponseHeaderModifier(_) => None,
    }
}

fn visit_backend(from: Referrer<'_>, to: &crate::refs::BackendObjectReference, visit: &mut dyn FnMut(Reference<'_>)) {
    Reference::backend(from, to).into_iter().for_each(visit);
}

macro_rules! connections {
    ($($route:ident),+) => {
        $(impl References for $route {
            fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
                rules(referrer(Kind::$route, &self.meta), &self.spec.rules, visit);
            }
        })+
    };
}

connections!(TlsRoute, TcpRoute, UdpRoute);

fn rules(from: Referrer<'_>, rules: &[ConnectionRule], visit: &mut dyn FnMut(Reference<'_>)) {
    let backends = rules.iter().flat_map(|rule| &rule.backend_refs);
    backends.filter_map(|backend| Reference::weighted(from, backend)).for_each(visit);
}
