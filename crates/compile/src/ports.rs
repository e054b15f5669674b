//! Sockets: which Gateway gets which, and the listeners that share one.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::status::Problem;
use pailou_limits::LlmCosts;
use pailou_snapshot::{
    ClientCertificates, ConnectionListener, Forward, HostMap, HostPattern, Listener, ListenerName, Name, Port, PortKey,
    PortService, RouteTable, ServerTls, Snapshot, TlsListener, TlsVersion, Transport,
};

use super::{
    gateway::Gateways,
    ids::ListenerId,
    listener::ListenerState,
    listener_protocol::ListenerProtocol,
    policies::client::{ClientSettings, TlsSettings},
    settings::Mode,
    tables::Tables,
    tls_version::version,
};

/// Gives every socket to the oldest Gateway that asks for it; the others' listeners say who holds it. Listeners of different
/// Gateways never share one.
pub(crate) fn claim(gateways: &mut Gateways<'_>) {
    let mut held: HashMap<(Transport, u16), Vec<(IpAddr, Name)>> = HashMap::new();
    for (_, gateway) in gateways.list.iter_mut().filter(|(_, gateway)| gateway.is_accepted()) {
        let name = gateway.name.clone();
        let mut claims = Vec::new();
        for listener in gateway.listeners.iter_mut().filter(|listener| listener.is_servable()) {
            let Some(protocol) = listener.protocol else { continue };
            let port = (protocol.transport(), listener.spec.port.get());
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
                        SocketAddr::new(address, port.1)
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

/// Whether sockets at both addresses are in each other's way.
pub(crate) fn overlap(a: IpAddr, b: IpAddr) -> bool {
    a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
}

/// TLS settings of the compilation before. Equal ones stay the same object, and keep state that depends on them: sessions for
/// resumption, say.
#[derive(Default)]
pub(crate) struct Kept<'s>(HashMap<&'s ListenerName, &'s Arc<ServerTls>>);

impl<'s> Kept<'s> {
    /// Those of a snapshot.
    pub(crate) fn of(snapshot: &'s Snapshot) -> Self {
        let listeners = snapshot.ports.iter().flat_map(Port::listeners);
        Self(listeners.filter_map(|listener| Some((listener.name(), listener.tls()?))).collect())
    }

    fn keep(&self, listener: &ListenerName, now: ServerTls) -> Arc<ServerTls> {
        let before = self.0.get(listener).filter(|before| ****before == now);
        before.map_or_else(|| Arc::new(now), |before| Arc::clone(before))
    }
}

/// The sockets with their listeners. In a cluster each Gateway has its own, be the addresses the same.
pub(crate) fn ports(
    gateways: Gateways<'_>,
    clients: &ClientSettings<'_>,
    tables: &Tables,
    mode: Mode,
    kept: &Kept<'_>,
) -> Vec<Port> {
    let mut ports: BTreeMap<(Option<Name>, PortKey), Port> = BTreeMap::new();
    for (id, gateway) in gateways.list.into_iter() {
        let costs = &gateway.costs.costs;
        let owner = (mode == Mode::Cluster).then(|| gateway.name.clone());
        if !gateway.is_accepted() {
            continue;
        }
        let listeners = gateway.listeners.into_iter().enumerate().filter(|(_, listener)| listener.is_servable());
        for (place, listener) in listeners {
            let Some(protocol) = listener.protocol else { continue };
            let number = listener.spec.port.get();
            let (hostname, client) = (listener.hostname.clone(), listener.client.clone());
            let tables = tables.take(ListenerId { gateway: id, place });
            let service = service(listener, (tables, costs.clone()), clients, protocol, kept);
            for address in &gateway.addresses.bound {
                let key = PortKey { address: SocketAddr::new(*address, number), transport: protocol.transport() };
                match ports.entry((owner.clone(), key)) {
                    Entry::Vacant(free) => {
                        let (client, service) = (client.clone(), service.clone());
                        free.insert(Port { address: key.address, number, client, service });
                    }
                    Entry::Occupied(taken) => join(&mut taken.into_mut().service, hostname.as_ref(), &service),
                }
            }
        }
    }
    ports.into_values().collect()
}

/// Puts what a listener brings beside what its port has. Listeners that could not share it have been refused before.
fn join(service: &mut PortService, hostname: Option<&HostPattern>, more: &PortService) {
    match (service, more) {
        (PortService::Http(all), PortService::Http(more)) => {
            more.values().for_each(|listener| drop(all.insert(hostname, listener.clone())));
        }
        (PortService::Tls(all), PortService::Tls(more)) => {
            more.values().for_each(|listener| drop(all.insert(hostname, listener.clone())));
        }
        _ => {}
    }
}

/// Routes of a listener: of requests, and of connections.
type ListenerRoutes = (RouteTable, HostMap<Arc<Forward>>);

/// Adds a listener by itself to a port.
fn service(
    listener: ListenerState<'_>,
    ((routes, forwards), costs): (ListenerRoutes, Option<Arc<LlmCosts>>),
    clients: &ClientSettings<'_>,
    protocol: ListenerProtocol,
    kept: &Kept<'_>,
) -> PortService {
    let tls = protocol.terminates_tls().then(|| {
        let settings = clients.tls(&listener.name).cloned().unwrap_or_default();
        kept.keep(&listener.name, server_tls(listener.certificates, listener.client_certificates, settings, protocol))
    });
    let ListenerState { name, hostname, client, filters, identity_headers, geo, tracing, access_log, .. } = listener;
    let by_host = hostname.clone();
    if protocol.is_http() {
        let listener =
            Arc::new(Listener { name, hostname, tls, client, filters, identity_headers, costs, geo, tracing, access_log, routes });
        return match protocol {
            ListenerProtocol::Http => PortService::Http(alone(by_host.as_ref(), listener)),
            _ => PortService::Tls(alone(by_host.as_ref(), TlsListener::Http(listener))),
        };
    }
    let listener = Arc::new(ConnectionListener { name, hostname, tls, client, access_log, routes: forwards });
    match protocol {
        ListenerProtocol::Tcp => PortService::Tcp(listener),
        ListenerProtocol::Udp => PortService::Udp(listener),
        _ => PortService::Tls(alone(by_host.as_ref(), TlsListener::Connections(listener))),
    }
}

fn alone<T>(hostname: Option<&HostPattern>, listener: T) -> HostMap<T> {
    let mut map = HostMap::default();
    map.insert(hostname, listener);
    map
}

fn server_tls(
    certificates: Vec<Arc<rustls::sign::CertifiedKey>>,
    client_certificates: Option<ClientCertificates>,
    settings: TlsSettings,
    protocol: ListenerProtocol,
) -> ServerTls {
    ServerTls {
        certificates,
        client_certificates,
        min_version: version(settings.min_version, TlsVersion::V1_2),
        max_version: version(settings.max_version, TlsVersion::V1_3),
        alpn: match settings.alpn {
            Some(names) => names.into_iter().map(String::into_bytes).collect(),
            None if protocol.is_http() => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            None => Vec::new(),
        },
        ciphers: settings.ciphers.iter().map(|name| name.as_str().into()).collect(),
    }
}
