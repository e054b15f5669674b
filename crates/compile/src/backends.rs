//! Backends of Envoy Gateway: services outside of the cluster.

use std::{collections::HashMap, sync::Arc};

use crate::status::{Condition, ConditionList, Problem, StatusBody, Statuses};
use pailou_api::{
    Backend, ObjectKey,
    envoy::{
        ENVOY_GROUP,
        backend::{BackendTls, BackendType},
    },
};
use pailou_snapshot::{Roots, San, TlsVersion, UpstreamTls};

use super::{authorities, backend_limits, grants::Referrer, index::Index, listener::certificate, tls_version::version, warnings};

/// A Backend's own TLS settings, or why it cannot be used.
type Read = Result<Option<Arc<UpstreamTls>>, Problem>;

/// All Backends.
pub(crate) struct Backends<'a> {
    read: HashMap<(&'a str, &'a str), (&'a Backend, Read)>,
}

impl<'a> Backends<'a> {
    /// Reads all Backends.
    pub(crate) fn new(index: &Index<'a>) -> Self {
        let entry =
            |backend: &'a Backend| ((backend.meta.namespace.as_str(), backend.meta.name.as_str()), (backend, read(index, backend)));
        Self { read: index.backends.iter().map(entry).collect() }
    }

    /// The TLS settings of a Backend itself.
    pub(crate) fn tls(&self, namespace: &str, name: &str) -> Read {
        match self.read.get(&(namespace, name)) {
            Some((_, Ok(tls))) => Ok(tls.clone()),
            Some((_, Err(problem))) => {
                Err(Problem::refs("InvalidBackendRef", format!("Backend {namespace}/{name}: {}", problem.message)))
            }
            None => Ok(None),
        }
    }

    /// Writes down every Backend's status.
    pub(crate) fn report(&self, statuses: &mut Statuses) {
        for (backend, read) in self.read.values() {
            let generation = backend.meta.generation;
            let problems: Vec<_> = read.as_ref().err().cloned().into_iter().collect();
            let mut paths = backend.spec.unsupported();
            let tls = backend.spec.tls.as_ref();
            paths.extend(tls.is_some_and(|tls| !tls.ciphers.is_empty()).then_some("tls.ciphers"));
            paths.extend(tls.is_some_and(|tls| tls.alpn_protocols.is_some()).then_some("tls.alpnProtocols"));
            let mut conditions = vec![Condition::summary("Accepted", &problems, generation)];
            conditions.extend(warnings::unsupported(paths, generation));
            let key = ObjectKey::new(ENVOY_GROUP, "Backend", &backend.meta.namespace, &backend.meta.name);
            statuses.set(key, StatusBody::Conditions(ConditionList { conditions }));
        }
    }
}

fn read(index: &Index<'_>, backend: &Backend) -> Read {
    let spec = &backend.spec;
    let invalid = |message: String| Problem::accepted("Invalid", message);
    if spec.kind == BackendType::DynamicResolver {
        return Err(invalid("spec.type: DynamicResolver is not supported: list the endpoints".to_owned()));
    }
    for (place, endpoint) in spec.endpoints.iter().enumerate() {
        let count = [endpoint.fqdn.is_some(), endpoint.ip.is_some(), endpoint.unix.is_some()].into_iter().filter(|it| *it).count();
        if count != 1 {
            return Err(invalid(format!("spec.endpoints[{place}]: needs exactly one of fqdn, ip and unix")));
        }
    }
    if spec.endpoints.is_empty() {
        return Err(invalid("spec.endpoints: is empty".to_owned()));
    }
    backend_limits::read(index, "Backend", &backend.meta).map_err(invalid)?;
    spec.tls.as_ref().map(|tls| upstream_tls(index, backend, tls)).transpose()
}

fn upstream_tls(index: &Index<'_>, backend: &Backend, tls: &BackendTls) -> Result<Arc<UpstreamTls>, Problem> {
    let namespace = backend.meta.namespace.as_str();
    let from = Referrer { group: ENVOY_GROUP, kind: "Backend", namespace };
    let invalid = |message: String| Problem::accepted("Invalid", message);
    let roots = match (tls.insecure_skip_verify, tls.well_known_ca_certificates.as_deref()) {
        (true, _) | (false, Some("System")) => Roots::System,
        (false, Some(other)) => {
            return Err(invalid(format!("spec.tls.wellKnownCACertificates: {other} is not known: use System")));
        }
        (false, None) => {
            let (certificates, problems) = authorities::read(index, from, &tls.ca_certificate_refs);
            if let Some(problem) = problems.into_iter().next() {
                return Err(invalid(format!("spec.tls.caCertificateRefs: {}", problem.message)));
            }
            if certificates.is_empty() {
                let message = "spec.tls: name the authorities to trust in caCertificateRefs, or wellKnownCACertificates: System";
                return Err(invalid(message.to_owned()));
            }
            authorities::roots(certificates)
        }
    };
    let client_certificate = tls.client_certificate_ref.as_ref().map(|reference| certificate(index, reference, from));
    let client_certificate =
        client_certificate.transpose().map_err(|problem| invalid(format!("spec.tls.clientCertificateRef: {}", problem.message)))?;
    let is_by_host = tls.sni.is_none() && tls.auto_sni != Some(true);
    let sni = tls.sni.as_ref().map(|name| name.to_string()).or_else(|| first_name(backend));
    // A connection that is not for a request goes by the endpoint's name.
    let sni = sni.or_else(|| is_by_host.then(|| backend.meta.name.clone()));
    let sni: Arc<str> = sni.ok_or_else(|| invalid("spec.tls.sni: is needed where no endpoint has a host name".to_owned()))?.into();
    Ok(Arc::new(UpstreamTls {
        names: if is_by_host { Vec::new() } else { vec![San::Hostname(sni.clone())] },
        sni,
        is_by_host,
        roots,
        insecure_skip_verify: tls.insecure_skip_verify,
        client_certificate,
        min_version: version(tls.min_version, TlsVersion::V1_2),
        max_version: version(tls.max_version, TlsVersion::V1_3),
    }))
}

/// The name of the first endpoint that has one; of an address where none does, its text.
fn first_name(backend: &Backend) -> Option<String> {
    let endpoints = &backend.spec.endpoints;
    let named = endpoints.iter().find_map(|it| it.hostname.as_ref().map(ToString::to_string));
    let resolved = || endpoints.iter().find_map(|it| it.fqdn.as_ref().map(|fqdn| fqdn.hostname.trim_end_matches('.').to_owned()));
    let address = || endpoints.iter().find_map(|it| it.ip.as_ref().map(|ip| ip.address.to_string()));
    named.or_else(resolved).or_else(address)
}
