//! The endpoint picker that a pool refers to, as a cluster.

use std::sync::Arc;

use pailou_api::{
    Kind,
    core_v1::service::{ServicePort, ServiceType},
    inference_pool::EndpointPickerRef,
};
use pailou_snapshot::{Cluster, ClusterKind, EndpointKey, Name, Protocol, Roots, TlsVersion, UpstreamTls};

use super::{
    draft::Draft,
    ids::PolicyId,
    index::Index,
    policies::traffic::Traffic,
    upstream_tls::TlsPolicies,
    wrong_kind::{self, Named},
};

/// Reason why a pool has no usable endpoint picker.
pub(crate) enum NoPicker {
    /// There is no such Service.
    Absent(String),
    /// The reference is not one to a Service's port.
    Unusable(String),
}

/// The cluster of an endpoint picker, and the BackendTLSPolicy for it.
pub(crate) type PickerCluster = (Cluster, Option<PolicyId>);

/// The cluster of an endpoint picker: gRPC, in TLS by a BackendTLSPolicy on its Service, else with any certificate, since
/// pickers make their own. To a port with `kubernetes.io/h2c` the gateway speaks cleartext, unless a policy demands TLS.
pub(crate) fn cluster(
    index: &Index<'_>,
    policies: &TlsPolicies<'_>,
    namespace: &str,
    reference: &EndpointPickerRef,
) -> Result<PickerCluster, NoPicker> {
    let name = &reference.name;
    let port = port(index, namespace, reference)?;
    let clear = port.app_protocol.as_deref() == Some("kubernetes.io/h2c");
    let (place, tls) = match policies.of_service(namespace, name, &port.name) {
        Some((place, tls)) => (Some(place), tls.map(Some)),
        None if clear => (None, Ok(None)),
        None => (None, Ok(Some(Arc::new(unverified(format!("{name}.{namespace}.svc").into()))))),
    };
    let draft = Draft {
        endpoints: EndpointKey::Service(Name::new(namespace, name), port.port),
        kind: ClusterKind::Service,
        protocol: Protocol::Http2,
        tls,
    };
    Ok((draft.cluster(&Traffic::default()), place))
}

/// The port of an endpoint picker's Service.
pub(crate) fn port<'a>(index: &Index<'a>, namespace: &str, reference: &EndpointPickerRef) -> Result<&'a ServicePort, NoPicker> {
    let name = &reference.name;
    if !reference.group.is_empty() || reference.kind != "Service" {
        let named = Named { group: &reference.group, kind: &reference.kind, name };
        return Err(NoPicker::Unusable(format!("the endpoint picker {}", wrong_kind::message(named, &[Kind::Service]))));
    }
    let Some(port) = reference.port else {
        return Err(NoPicker::Unusable(format!("endpointPickerRef to Service {name} needs port.number")));
    };
    let absent = || NoPicker::Absent(format!("there is no Service {name} in namespace {namespace} for the endpoint picker"));
    let service = index.services.get(namespace, name).ok_or_else(absent)?;
    if service.spec.kind == ServiceType::ExternalName {
        return Err(NoPicker::Unusable(format!("the endpoint picker's Service {name} is of type ExternalName")));
    }
    let port = port.get();
    let found = service.spec.ports.iter().find(|it| it.port == port && it.protocol == "TCP");
    found.ok_or_else(|| NoPicker::Unusable(format!("the endpoint picker's Service {name} has no TCP port {port}")))
}

fn unverified(sni: Arc<str>) -> UpstreamTls {
    UpstreamTls {
        sni,
        is_by_host: false,
        names: Vec::new(),
        roots: Roots::System,
        insecure_skip_verify: true,
        client_certificate: None,
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    }
}
