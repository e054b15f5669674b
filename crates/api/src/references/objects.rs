//! References of all kinds but routes.

use super::{Reference, References, Referrer};
use crate::{
    Backend, BackendTlsPolicy, BackendTrafficPolicy, ClientTrafficPolicy, EnvoyExtensionPolicy, EnvoyHttpRouteFilter, EnvoyProxy,
    Gateway, GatewayClass, InferencePool, Kind, ListenerSet, Object, SecurityPolicy, endpoint_picker_config::ConfigurationSource,
    envoy::ENVOY_GROUP, listener::Listener, refs::GATEWAY_GROUP,
};

impl References for Object {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        match self {
            Object::GatewayClass(it) => it.references(visit),
            Object::Gateway(it) => it.references(visit),
            Object::ListenerSet(it) => it.references(visit),
            Object::HttpRoute(it) => it.references(visit),
            Object::GrpcRoute(it) => it.references(visit),
            Object::TlsRoute(it) => it.references(visit),
            Object::TcpRoute(it) => it.references(visit),
            Object::UdpRoute(it) => it.references(visit),
            Object::BackendTlsPolicy(it) => it.references(visit),
            Object::InferencePool(it) => it.references(visit),
            Object::Backend(it) => it.references(visit),
            Object::EnvoyHttpRouteFilter(it) => it.references(visit),
            Object::ClientTrafficPolicy(it) => it.references(visit),
            Object::BackendTrafficPolicy(it) => it.references(visit),
            Object::SecurityPolicy(it) => it.references(visit),
            Object::EnvoyExtensionPolicy(it) => it.references(visit),
            Object::EnvoyProxy(it) => it.references(visit),
            Object::ReferenceGrant(_)
            | Object::InferenceModel(_)
            | Object::InferenceObjective(_)
            | Object::InferenceModelRewrite(_)
            | Object::EnvoyPatchPolicy(_)
            | Object::InferenceTrafficPolicy(_)
            | Object::AckTrafficFilter(_)
            | Object::GatewayConfig(_)
            | Object::Namespace(_)
            | Object::Pod(_)
            | Object::Service(_)
            | Object::Secret(_)
            | Object::ConfigMap(_)
            | Object::EndpointSlice(_)
            | Object::ClusterTrustBundle(_) => {}
        }
    }
}

impl References for GatewayClass {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let Some(to) = &self.spec.parameters_ref else { return };
        // A class is the cluster's: no grant is needed.
        let namespace = to.namespace.as_deref().unwrap_or_default();
        let from = Referrer { group: GATEWAY_GROUP, kind: "GatewayClass", namespace };
        let parameters = Reference::new(from, (&to.group, &to.kind), Some(namespace), &to.name, &[Kind::EnvoyProxy]);
        parameters.into_iter().for_each(visit);
    }
}

impl References for Gateway {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = Referrer { group: GATEWAY_GROUP, kind: "Gateway", namespace: &self.meta.namespace };
        let class = (GATEWAY_GROUP, Kind::GatewayClass.name());
        let class = Reference::new(from, class, Some(""), &self.spec.gateway_class_name, &[Kind::GatewayClass]);
        class.into_iter().for_each(&mut *visit);
        let parameters = self.spec.infrastructure.as_ref().and_then(|it| it.parameters_ref.as_ref());
        parameters.and_then(|to| Reference::local(from, to, Kind::EnvoyProxy)).into_iter().for_each(&mut *visit);
        if let Some(tls) = &self.spec.tls {
            let certificate = tls.backend.as_ref().and_then(|it| it.client_certificate_ref.as_ref());
            certificate.and_then(|to| Reference::secret(from, to)).into_iter().for_each(&mut *visit);
            let frontend = tls.frontend.iter();
            let configs = frontend.flat_map(|it| std::iter::once(&it.fallback).chain(it.per_port.iter().map(|it| &it.tls)));
            let authorities = configs.flat_map(|it| &it.validation).flat_map(|it| &it.ca_certificate_refs);
            authorities.filter_map(|to| Reference::authorities(from, to)).for_each(&mut *visit);
        }
        Reference::gateway_config(self).into_iter().chain(Reference::model_prices(self)).for_each(&mut *visit);
        listeners(from, &self.spec.listeners, visit);
    }
}

impl References for ListenerSet {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = Referrer { group: GATEWAY_GROUP, kind: "ListenerSet", namespace: &self.meta.namespace };
        listeners(from, &self.spec.listeners, visit);
    }
}

fn listeners(from: Referrer<'_>, listeners: &[Listener], visit: &mut dyn FnMut(Reference<'_>)) {
    for listener in listeners {
        let certificates = listener.tls.iter().flat_map(|tls| &tls.certificate_refs);
        certificates.filter_map(|to| Reference::secret(from, to)).for_each(&mut *visit);
        let authorizers = listener.filters.requests.iter().filter_map(|filter| filter.external_auth.as_ref());
        authorizers.filter_map(|auth| Reference::backend(from, &auth.backend_ref)).for_each(&mut *visit);
    }
}

impl References for BackendTlsPolicy {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = Referrer { group: GATEWAY_GROUP, kind: "BackendTLSPolicy", namespace: &self.meta.namespace };
        let authorities = self.spec.validation.ca_certificate_refs.iter();
        authorities.filter_map(|to| Reference::local_authorities(from, to)).for_each(visit);
    }
}

impl References for InferencePool {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = Referrer { group: self.spec.version.group(), kind: "InferencePool", namespace: &self.meta.namespace };
        if let Some(source) = ConfigurationSource::of(self) {
            let configuration = Reference::new(from, ("", "ConfigMap"), None, source.name(), &[Kind::ConfigMap]);
            configuration.into_iter().for_each(&mut *visit);
        }
        let Some(to) = &self.spec.endpoint_picker else { return };
        let picker = Reference::new(from, (&to.group, &to.kind), None, &to.name, &[Kind::Service]);
        picker.map(|picker| Reference { port: to.port, ..picker }).into_iter().for_each(visit);
    }
}

impl References for Backend {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = Referrer { group: ENVOY_GROUP, kind: "Backend", namespace: &self.meta.namespace };
        let Some(tls) = &self.spec.tls else { return };
        tls.ca_certificate_refs.iter().filter_map(|to| Reference::local_authorities(from, to)).for_each(&mut *visit);
        tls.client_certificate_ref.iter().filter_map(|to| Reference::secret(from, to)).for_each(visit);
    }
}

impl References for EnvoyHttpRouteFilter {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = Referrer { group: ENVOY_GROUP, kind: "HTTPRouteFilter", namespace: &self.meta.namespace };
        let credential = self.spec.credential_injection.as_ref().map(|it| &it.credential.value_ref);
        credential.and_then(|to| Reference::secret(from, to)).into_iter().for_each(&mut *visit);
        let body = self.spec.direct_response.as_ref().and_then(|it| it.body.as_ref());
        body.and_then(|body| Reference::custom_body(from, body)).into_iter().for_each(visit);
    }
}

impl References for ClientTrafficPolicy {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = Referrer { group: ENVOY_GROUP, kind: "ClientTrafficPolicy", namespace: &self.meta.namespace };
        let validation = self.spec.tls.as_ref().and_then(|tls| tls.client_validation.as_ref());
        let authorities = validation.into_iter().flat_map(|it| &it.ca_certificate_refs);
        authorities.filter_map(|to| Reference::client_authorities(from, to)).for_each(&mut *visit);
        let lists = validation.and_then(|it| it.crl.as_ref()).into_iter().flat_map(|it| &it.refs);
        lists.filter_map(|to| Reference::revocation_list(from, to)).for_each(visit);
    }
}

impl References for BackendTrafficPolicy {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = Referrer { group: ENVOY_GROUP, kind: "BackendTrafficPolicy", namespace: &self.meta.namespace };
        let responses = self.spec.response_override.iter().filter_map(|it| it.response.as_ref());
        let bodies = responses.filter_map(|it| it.body.as_ref());
        bodies.filter_map(|body| Reference::custom_body(from, body)).for_each(visit);
    }
}

impl References for EnvoyExtensionPolicy {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = Referrer { group: ENVOY_GROUP, kind: "EnvoyExtensionPolicy", namespace: &self.meta.namespace };
        for processor in &self.spec.ext_proc {
            processor.backend_ref.iter().filter_map(|to| Reference::backend(from, to)).for_each(&mut *visit);
            processor.backend_refs.iter().filter_map(|to| Reference::weighted(from, to)).for_each(&mut *visit);
        }
    }
}

impl References for EnvoyProxy {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = Referrer { group: ENVOY_GROUP, kind: "EnvoyProxy", namespace: &self.meta.namespace };
        let tracing = self.spec.telemetry.iter().filter_map(|it| it.tracing.as_ref());
        let collectors = tracing.flat_map(|it| &it.provider.backend_refs);
        let logs = self.spec.telemetry.iter().filter_map(|it| it.access_log.as_ref()).flat_map(|it| it.backend_refs());
        let metrics = self.spec.telemetry.iter().filter_map(|it| it.metrics.as_ref()).flat_map(|it| it.backend_refs());
        collectors.chain(logs).chain(metrics).filter_map(|to| Reference::weighted(from, to)).for_each(visit);
    }
}

impl References for SecurityPolicy {
    fn references(&self, visit: &mut dyn FnMut(Reference<'_>)) {
        let from = Referrer { group: ENVOY_GROUP, kind: "SecurityPolicy", namespace: &self.meta.namespace };
        let keys = self.spec.api_key_auth.iter().flat_map(|it| &it.credential_refs);
        let users = self.spec.basic_auth.iter().map(|it| &it.users);
        let clients = self.spec.oidc.iter().flat_map(|it| it.client_id_ref.iter().chain([&it.client_secret]));
        keys.chain(users).chain(clients).filter_map(|to| Reference::secret(from, to)).for_each(&mut *visit);
        let servers = self.spec.oidc.iter().flat_map(|it| &it.provider.backend_refs);
        servers.filter_map(|to| Reference::weighted(from, to)).for_each(&mut *visit);
        let providers = self.spec.jwt.iter().flat_map(|it| &it.providers);
        for remote in providers.clone().filter_map(|it| it.remote_jwks.as_ref()) {
            remote.servers().iter().filter_map(|to| Reference::weighted(from, to)).for_each(&mut *visit);
        }
        let sets = providers.filter_map(|it| it.local_jwks.as_ref()?.value_ref.as_ref());
        sets.filter_map(|to| Reference::local(from, to, Kind::ConfigMap)).for_each(&mut *visit);
        if let Some(auth) = &self.spec.ext_auth {
            for (_, server) in auth.servers() {
                server.single.iter().filter_map(|to| Reference::backend(from, to)).for_each(&mut *visit);
                server.refs.iter().filter_map(|to| Reference::weighted(from, to)).for_each(&mut *visit);
            }
            let values = auth.context_extensions.iter().filter_map(|it| it.value_ref.as_ref());
            values.filter_map(|to| Reference::local_key(from, to)).for_each(&mut *visit);
        }
    }
}
