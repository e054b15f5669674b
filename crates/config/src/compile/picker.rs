//! The endpoint picker that a pool refers to, as a cluster.

use std::sync::Arc;

use crate::{
    resources::{core::service::ServiceType, inference_pool::EndpointPickerRef},
    snapshot::{Cluster, ClusterKind, EndpointKey, Protocol, Roots, TlsVersion, UpstreamTls},
};

use super::{
    clusters::Draft,
    index::{Index, name_of},
    policies::traffic::Traffic,
};

/// Why a pool's endpoint picker cannot be asked.
pub(crate) enum NoPicker {
    /// There is no such Service.
    Absent(String),
    /// The reference is not one to a Service's port.
    Unusable(String),
}

/// The cluster of an endpoint picker: gRPC, in TLS with whatever certificate it has, as pickers make their own. A Service whose port
/// says `kubernetes.io/h2c` is spoken to in the clear.
pub(crate) fn cluster(index: &Index<'_>, namespace: &str, reference: &EndpointPickerRef) -> Result<Cluster, NoPicker> {
    let name = &reference.name;
    if !reference.group.is_empty() || reference.kind != "Service" {
        return Err(NoPicker::Unusable(format!("the endpoint picker {} {name} is no Service", reference.kind)));
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
    let found = found.ok_or_else(|| NoPicker::Unusable(format!("the endpoint picker's Service {name} has no TCP port {port}")))?;
    let clear = found.app_protocol.as_deref() == Some("kubernetes.io/h2c");
    let host: Arc<str> = format!("{name}.{namespace}.svc").into();
    let draft = Draft {
        endpoints: EndpointKey::Service(name_of(&service.meta), port),
        kind: ClusterKind::Service,
        protocol: Protocol::Http2,
        tls: Ok((!clear).then(|| Arc::new(unverified(host)))),
    };
    Ok(draft.cluster(&Traffic::default()))
}

fn unverified(sni: Arc<str>) -> UpstreamTls {
    UpstreamTls {
        sni,
        names: Vec::new(),
        roots: Roots::System,
        insecure_skip_verify: true,
        client_certificate: None,
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    }
}
