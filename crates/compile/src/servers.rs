//! Services and Backends that references name.

use pailou_api::{
    Kind, Service,
    core_v1::service::{ServicePort, ServiceType},
    envoy::ENVOY_GROUP,
    refs::BackendObjectReference,
};
use pailou_snapshot::{Cluster, Transport};

use crate::{
    grants::{Referent, Referrer},
    index::Index,
    status::Problem,
    wrong_kind::{self, Named},
};

/// Kinds of backends; the first two take more than requests.
pub(crate) const BACKENDS: [Kind; 3] = [Kind::Service, Kind::Backend, Kind::InferencePool];

/// The problem of a reference to another kind than those allowed.
pub(crate) fn invalid_kind(to: &BackendObjectReference, allowed: &[Kind]) -> Problem {
    let named = Named { group: &to.group, kind: &to.kind, name: &to.name };
    Problem::refs("InvalidKind", wrong_kind::message(named, allowed))
}

/// Checks that a reference leads to a Service's port or to a Backend.
///
/// # Errors
/// It does not, or may not.
pub(crate) fn check(index: &Index<'_>, from: Referrer<'_>, to: &BackendObjectReference) -> Result<(), Problem> {
    let namespace = to.namespace.as_deref().unwrap_or(from.namespace);
    let is_service = match (&*to.group, &*to.kind) {
        ("", "Service") => true,
        (ENVOY_GROUP, "Backend") => false,
        _ => return Err(invalid_kind(to, &BACKENDS[..2])),
    };
    index.permit(from, Referent { group: &to.group, kind: &to.kind, namespace, name: &to.name })?;
    if is_service {
        return service_port(index, namespace, &to.name, to.port.map(|port| port.get()), Transport::Tcp).map(|_| ());
    }
    let missing = || Problem::refs("BackendNotFound", format!("there is no Backend {} in namespace {namespace}", to.name));
    index.backends.get(namespace, &to.name).map(|_| ()).ok_or_else(missing)
}

/// Takes a server's cluster, unless the server would be asked in clear where a URL asks for TLS. `url` names the URL's field, if it does.
///
/// # Errors
/// The server has no TLS.
pub(crate) fn with_tls(cluster: Cluster, url: Option<&str>, to: &BackendObjectReference) -> Result<Cluster, Problem> {
    match url {
        Some(url) if matches!(cluster.tls, Ok(None)) => {
            let message = format!("the {url} asks for TLS, and {} {} has none: give it a BackendTLSPolicy", to.kind, to.name);
            Err(Problem::accepted("Invalid", message))
        }
        _ => Ok(cluster),
    }
}

/// A Service's port by number.
pub(crate) fn service_port<'a>(
    index: &Index<'a>,
    namespace: &str,
    name: &str,
    port: Option<u16>,
    transport: Transport,
) -> Result<(&'a Service, &'a ServicePort), Problem> {
    let not_found = |message: String| Problem::refs("BackendNotFound", message);
    let service = index.services.get(namespace, name);
    let service = service.ok_or_else(|| not_found(format!("there is no Service {name} in namespace {namespace}")))?;
    if service.spec.kind == ServiceType::ExternalName {
        let message = format!("Service {namespace}/{name} is of type ExternalName: use a Backend with an fqdn endpoint instead");
        return Err(not_found(message));
    }
    let port = port.ok_or_else(|| not_found(format!("a reference to Service {namespace}/{name} needs a port")))?;
    let found = service.spec.ports.iter().find(|it| it.port == port && it.protocol == transport.name());
    let found = found.ok_or_else(|| {
        let known: Vec<_> = service.spec.ports.iter().map(|it| it.port.to_string()).collect();
        not_found(format!("Service {namespace}/{name} has no {} port {port}; it has {}", transport.name(), known.join(", ")))
    });
    Ok((service, found?))
}
