//! One route of any kind, to what it comes to.

use crate::{
    any_route::AnyRoute,
    connections,
    output::{Effect, Output},
    route::{grpc_route, http_route},
    route_compiler::RouteCompiler,
    status::Status,
};

impl RouteCompiler<'_, '_> {
    /// Compiles one route. Routes must come in their order.
    pub(crate) fn compile(mut self, route: &AnyRoute) -> (Output, Status) {
        let (mut output, status) = match route {
            AnyRoute::Http(object) => self.compile_requests(route, &http_route(object)),
            AnyRoute::Grpc(object) => self.compile_requests(route, &grpc_route(object)),
            AnyRoute::Tls(object) => self.compile_connections(route, &connections::tls_route(object)),
            AnyRoute::Tcp(object) => self.compile_connections(route, &connections::tcp_route(object)),
            AnyRoute::Udp(object) => self.compile_connections(route, &connections::udp_route(object)),
        };
        let usage = self.resolver.finish();
        for gateway in output.gateways.iter().copied() {
            output.effects.extend(usage.policies.iter().map(|policy| Effect::TlsPolicy { policy: *policy, gateway }));
            output.effects.extend(usage.pools.iter().map(|pool| Effect::Pool { pool: *pool, gateway }));
        }
        output.effects.extend(usage.documents.into_iter().map(|document| Effect::Document(document.into())));
        output.used = usage.ids;
        output.effects.extend(self.policies.effects);
        output.shrink();
        (output, status)
    }
}
