//! Sockets: which Gateway gets which, and the listeners that share one.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{
    resources::envoy::tls::TlsVersion as Version,
    snapshot::{ClientCertificates, HostMap, Listener, Name, Port, PortService, ServerTls, TlsListener, TlsVersion},
    status::Problem,
};

use super::{
    gateway::Gateways,
    listener::ListenerState,
    policies::client::{ClientSettings, TlsSettings},
    settings::Mode,
    speaks::Speaks,
};

/// Gives every socket to the oldest Gateway that asks for it; the others' listeners say who holds it. Listeners of different
/// Gateways never share one.
pub(crate) fn claim(gateways: &mut Gateways<'_>) {
    let mut held: HashMap<u16, Vec<(IpAddr, Name)>> = HashMap::new();
    for gateway in gateways.list.iter_mut().filter(|gateway| gateway.is_accepted()) {
        let name = gateway.name.clone();
        let mut claims = Vec::new();
        for listener in gateway.listeners.iter_mut().filter(|listener| listener.is_servable()) {
            let port = listener.spec.port.get();
            let holders = held.get(&port).map_or(&[][..], Vec::as_slice);
            let taken = gateway.addresses.bound.iter().find_map(|address| {
                holders.iter().find(|(other, _)| overlap(*address, *other)).map(|(_, holder)| (*address, holder))
            });
            match taken {
                Some((address, holder)) => listener.problems.push(Problem {
                    condition: "Programmed",
                    reason: "PortUnavailable",
                    message: format!(
                        "{} is held by Gateway {holder}: give this Gateway an address of its own with spec.addresses, or with \
                         --address {name}=IP",
                        SocketAddr::new(address, port)
                    ),
                }),
                None => claims.extend(gateway.addresses.bound.iter().map(|address| (port, *address))),
            }
        }
        for (port, address) in claims {
            held.entry(port).or_default().push((address, name.clone()));
        }
    }
}

fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
}

/// The sockets with their listeners. In a cluster each Gateway has its own, be the addresses the same.
pub(crate) fn ports(gateways: Gateways<'_>, clients: &ClientSettings, mode: Mode) -> Vec<Port> {
    let mut ports: BTreeMap<(Option<Name>, SocketAddr), Port> = BTreeMap::new();
    for gateway in gateways.list {
        let owner = (mode == Mode::Cluster).then(|| gateway.name.clone());
        if !gateway.is_accepted() {
            continue;
        }
        for listener in gateway.listeners.into_iter().filter(ListenerState::is_servable) {
            let Some(speaks) = listener.speaks else { continue };
            let number = listener.spec.port.get();
            let listener = Arc::new(finish(listener, clients, speaks));
            for address in &gateway.addresses.bound {
                let address = SocketAddr::new(*address, number);
                let port = ports.entry((owner.clone(), address)).or_insert_with(|| Port {
                    address,
                    number,
                    client: listener.client.clone(),
                    service: empty(speaks),
                });
                match &mut port.service {
                    PortService::Http(listeners) => drop(listeners.insert(listener.hostname.as_ref(), listener.clone())),
                    PortService::Tls(listeners) => {
                        listeners.insert(listener.hostname.as_ref(), TlsListener::Http(listener.clone()));
                    }
                    PortService::Tcp(_) | PortService::Udp(_) => {}
                }
            }
        }
    }
    ports.into_values().collect()
}

fn empty(speaks: Speaks) -> PortService {
    match speaks {
        Speaks::Http => PortService::Http(HostMap::default()),
        Speaks::Https => PortService::Tls(HostMap::default()),
    }
}

fn finish(listener: ListenerState<'_>, clients: &ClientSettings, speaks: Speaks) -> Listener {
    let tls = speaks.ends_tls().then(|| {
        let settings = clients.tls(&listener.name).cloned().unwrap_or_default();
        Arc::new(server_tls(listener.certificates, listener.client_certificates, settings))
    });
    let mut routes = listener.routes;
    routes.sort();
    Listener { name: listener.name, hostname: listener.hostname, tls, client: listener.client, routes }
}

fn server_tls(
    certificates: Vec<Arc<rustls::sign::CertifiedKey>>,
    client_certificates: Option<ClientCertificates>,
    settings: TlsSettings,
) -> ServerTls {
    ServerTls {
        certificates,
        client_certificates,
        min_version: version(settings.min_version, TlsVersion::V1_2),
        max_version: version(settings.max_version, TlsVersion::V1_3),
        alpn: match settings.alpn {
            Some(names) => names.into_iter().map(String::into_bytes).collect(),
            None => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        },
        ciphers: settings.ciphers.iter().map(|name| name.as_str().into()).collect(),
    }
}

/// TLS 1.0 and 1.1 are not spoken: as a bound they mean 1.2.
pub(crate) fn version(asked: Option<Version>, default: TlsVersion) -> TlsVersion {
    match asked {
        None | Some(Version::Auto) => default,
        Some(Version::V1_3) => TlsVersion::V1_3,
        Some(Version::V1_0 | Version::V1_1 | Version::V1_2) => TlsVersion::V1_2,
    }
}
