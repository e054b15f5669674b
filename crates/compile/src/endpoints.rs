//! Endpoints: from EndpointSlices, Pods and Backends, apart from routes.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use pailou_api::{
    InferencePool, IntOrString, Pod, Service,
    core_v1::service::ServicePort,
    envoy::backend::BackendEndpoint,
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP},
};
use pailou_snapshot::{Address, Endpoint, EndpointKey, EndpointRole, Name, Transport};

use super::{
    endpoint_picker_config::PickerConfiguration,
    index::Index,
    pool_configuration,
    pools::TWIN_SUFFIX,
    settings::{Mode, Settings},
};

/// Labels that name a pod's role, the first that is known counts: llm-d's, and those of RoleBasedGroups, as in ACK, of both versions.
const ROLE_LABELS: [&str; 3] = ["llm-d.ai/role", "rbg.workloads.x-k8s.io/role-name", "rolebasedgroup.workloads.x-k8s.io/role"];

/// The endpoints of a group.
pub(crate) fn of(index: &Index<'_>, settings: &Settings, key: &EndpointKey) -> Vec<Endpoint> {
    match key {
        EndpointKey::Service(name, port) => of_port(index, settings, name, *port, Transport::Tcp),
        EndpointKey::UdpService(name, port) => of_port(index, settings, name, *port, Transport::Udp),
        EndpointKey::Backend(name) => of_backend(index, name),
        EndpointKey::Pool(name) => of_pool(index, name),
    }
}

fn of_port(index: &Index<'_>, settings: &Settings, name: &Name, port: u16, transport: Transport) -> Vec<Endpoint> {
    let service = index.services.get(&name.namespace, &name.name);
    let port = service.and_then(|it| it.spec.ports.iter().find(|it| it.port == port && it.protocol == transport.name()));
    service.zip(port).map(|(service, port)| of_service(index, settings, service, port)).unwrap_or_default()
}

fn of_service(index: &Index<'_>, settings: &Settings, service: &Service, port: &ServicePort) -> Vec<Endpoint> {
    let meta = &service.meta;
    let Some(slices) = index.slices.get(&meta.namespace, &meta.name) else {
        return match settings.mode {
            Mode::Standalone => of_selector(index, &meta.namespace, &service.spec.selector, None, |pod| target_port(pod, port)),
            Mode::Cluster => Vec::new(),
        };
    };
    // By address, once: slices may repeat each other while they are being rearranged.
    let mut found = BTreeMap::new();
    for slice in slices {
        let Some(target) = slice.spec.ports.iter().find(|it| it.name == port.name && it.protocol == port.protocol) else {
            continue;
        };
        let ready = slice.spec.endpoints.iter().filter(|endpoint| endpoint.ready && !endpoint.terminating);
        for address in ready.flat_map(|endpoint| endpoint.addresses.first()) {
            let address = SocketAddr::new(*address, target.port);
            found.insert(
                address,
                Endpoint {
                    address: Address::Socket(address),
                    name: address.to_string().into(),
                    priority: 0,
                    role: EndpointRole::Whole,
                    context: None,
                },
            );
        }
    }
    found.into_values().collect()
}

/// The port of a pod that a Service's port leads to.
fn target_port(pod: &Pod, port: &ServicePort) -> Vec<u16> {
    match &port.target_port {
        IntOrString::Int(number) => u16::try_from(*number).into_iter().collect(),
        IntOrString::String(name) => pod.spec.ports.iter().find(|it| it.name == *name).map(|it| it.port).into_iter().collect(),
    }
}

fn of_pool(index: &Index<'_>, name: &Name) -> Vec<Endpoint> {
    let pool = match name.name.strip_suffix(TWIN_SUFFIX) {
        Some(plain) => index.pool(INFERENCE_X_GROUP, &name.namespace, plain),
        None => [INFERENCE_GROUP, INFERENCE_X_GROUP].into_iter().find_map(|group| index.pool(group, &name.namespace, &name.name)),
    };
    let endpoints = |pool: &InferencePool| of_object(index, pool, pool_configuration::in_force(index, pool).as_deref());
    pool.map(endpoints).unwrap_or_default()
}

/// The endpoints of an InferencePool whose picker is configured so.
pub(crate) fn of_object(index: &Index<'_>, pool: &InferencePool, configuration: Option<&PickerConfiguration>) -> Vec<Endpoint> {
    let ports: Vec<_> = pool.spec.target_ports.iter().map(|port| port.get()).collect();
    of_selector(index, &pool.meta.namespace, &pool.spec.selector, configuration, |_| ports.clone())
}

/// The ready pods that bear these labels and that filters leave, on these ports. An empty selector selects nothing.
fn of_selector(
    index: &Index<'_>,
    namespace: &str,
    selector: &BTreeMap<String, String>,
    configuration: Option<&PickerConfiguration>,
    ports: impl Fn(&Pod) -> Vec<u16>,
) -> Vec<Endpoint> {
    if selector.is_empty() {
        return Vec::new();
    }
    let chosen = index.pods.get(namespace, "").into_iter().flatten().filter(|pod| {
        let labels = &pod.meta.labels;
        pod.spec.ready
            && pod.meta.deletion_timestamp.is_none()
            && selector.iter().all(|(key, value)| labels.get(key) == Some(value))
    });
    let mut found: Vec<Endpoint> = Vec::new();
    for pod in chosen {
        let Some(ip) = pod.spec.ips.first() else { continue };
        let name: Arc<str> = pod.meta.name.as_str().into();
        let labels = &pod.meta.labels;
        let role = configuration.map_or_else(|| Some(role(pod)), |configuration| configuration.role(role(pod), labels));
        let Some(role) = role else { continue };
        let context = configuration.and_then(|configuration| configuration.context(labels));
        let address = |port| Address::Socket(SocketAddr::new(*ip, port));
        let of_port = |port| Endpoint { address: address(port), name: name.clone(), priority: 0, role, context };
        found.extend(ports(pod).into_iter().map(of_port));
    }
    found
}

fn role(pod: &Pod) -> EndpointRole {
    let labels = ROLE_LABELS.iter().filter_map(|label| pod.meta.labels.get(*label));
    labels.filter_map(|name| EndpointRole::from_name(name)).next().unwrap_or_default()
}

fn of_backend(index: &Index<'_>, name: &Name) -> Vec<Endpoint> {
    let Some(backend) = index.backends.get(&name.namespace, &name.name) else { return Vec::new() };
    let priority = u8::from(backend.spec.fallback);
    let endpoint = |it: &BackendEndpoint| {
        let address = address(it)?;
        let name = it.hostname.as_ref().map_or_else(|| address.to_string(), ToString::to_string);
        Some(Endpoint { name: name.into(), address, priority, role: EndpointRole::Whole, context: None })
    };
    backend.spec.endpoints.iter().filter_map(endpoint).collect()
}

fn address(endpoint: &BackendEndpoint) -> Option<Address> {
    let dns = endpoint.fqdn.as_ref().map(|fqdn| Address::Dns { host: fqdn.hostname.trim_end_matches('.').into(), port: fqdn.port });
    let ip = || endpoint.ip.as_ref().map(|ip| Address::Socket(SocketAddr::new(ip.address, ip.port)));
    let unix = || endpoint.unix.as_ref().map(|unix| Address::Unix(std::path::Path::new(&unix.path).into()));
    dns.or_else(ip).or_else(unix)
}
