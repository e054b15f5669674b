//! A proxy with listeners for connections and datagrams, made by hand.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pailou_proxy::{Proxy, access_log::Sink};
use pailou_snapshot::{
    Address, BackendRef, Backends, BreakerId, BreakerKey, ClientPolicy, Cluster, ClusterId, ClusterKey, ClusterKind,
    ConnectionListener, Endpoint, EndpointKey, EndpointRole, Endpoints, Failure, Forward, HealthChecks, HostMap, HostPattern,
    ListenerName, LoadBalancer, Name, Port, PortKey, PortService, Protocol, RouteKind, RouteName, ServerTls, Snapshot, TlsListener,
};

use crate::support::{log::Log, options};

/// A running proxy, and what it logged.
pub(crate) struct Gateway {
    pub(crate) proxy: Proxy,
    log: Log,
}

/// A listener for connections: its host name, where TLS ends, and its routes' host names, each with its cluster's number.
pub(crate) struct Listening<'a> {
    pub(crate) hostname: Option<&'a str>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) routes: &'a [(Option<&'a str>, u32)],
}

impl Gateway {
    pub(crate) fn start() -> Self {
        let log = Log::default();
        Self { proxy: Proxy::start(options(2, Sink::To(Box::new(log.clone())))).unwrap(), log }
    }

    /// Serves these ports, with a cluster for each list of endpoints.
    pub(crate) fn apply(&self, ports: Vec<Port>, clusters: &[&[SocketAddr]]) {
        let snapshot = Snapshot {
            ports,
            clusters: (0..clusters.len()).map(|place| Arc::new(cluster(place))).collect(),
            breakers: vec![BreakerKey::Backend { route: route(RouteKind::Tcp), backend: 0 }],
            ..Snapshot::default()
        };
        let errors = self.proxy.apply(&Arc::new(snapshot), &endpoints(clusters));
        assert!(errors.is_empty(), "{errors:?}");
    }

    /// Addresses for connections, and for datagrams.
    pub(crate) fn address(&self, udp: bool) -> SocketAddr {
        let key = if udp { PortKey::udp(any()) } else { PortKey::tcp(any()) };
        self.proxy.addresses().into_iter().find(|(wanted, _)| *wanted == key).unwrap().1
    }

    /// Waits for the line of the access log that says this.
    pub(crate) async fn logged(&self, text: &str) -> String {
        self.log.line(text).await
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        self.proxy.encode_metrics(&mut text);
        text
    }
}

/// A port of the system's choice.
pub(crate) fn port(service: PortService) -> Port {
    Port { address: any(), number: 0, client: Arc::new(ClientPolicy::default()), service }
}

pub(crate) fn tls(listeners: &[Listening<'_>]) -> PortService {
    let mut map = HostMap::default();
    for listening in listeners {
        let pattern = listening.hostname.map(HostPattern::new);
        map.insert(pattern.as_ref(), TlsListener::Connections(listener(RouteKind::Tls, listening)));
    }
    PortService::Tls(map)
}

pub(crate) fn tcp(cluster: u32) -> PortService {
    PortService::Tcp(listener(RouteKind::Tcp, &Listening { hostname: None, tls: None, routes: &[(None, cluster)] }))
}

pub(crate) fn udp(cluster: u32) -> PortService {
    PortService::Udp(listener(RouteKind::Udp, &Listening { hostname: None, tls: None, routes: &[(None, cluster)] }))
}

/// The cluster's number of a rule that leads nowhere.
pub(crate) const NOWHERE: u32 = 99;

fn listener(kind: RouteKind, listening: &Listening<'_>) -> Arc<ConnectionListener> {
    let mut routes = HostMap::default();
    for (hostname, cluster) in listening.routes {
        let backend = BackendRef {
            weight: 1,
            fallback: false,
            filters: Arc::default(),
            cluster: if *cluster == NOWHERE { Err(Failure("there is no such Service".into())) } else { Ok(ClusterId(*cluster)) },
            breaker: BreakerId(0),
            limits: None,
        };
        let forward = Forward {
            authorization: None,
            route: route(kind),
            backends: Ok(Backends::new(vec![backend])),
            connect: Duration::from_secs(2),
            breaker: None,
        };
        routes.insert(hostname.map(HostPattern::new).as_ref(), Arc::new(forward));
    }
    Arc::new(ConnectionListener {
        name: ListenerName { gateway: Name::new("default", "gateway"), set: None, section: "l4".into() },
        hostname: listening.hostname.map(HostPattern::new),
        tls: listening.tls.clone(),
        client: Arc::new(ClientPolicy::default()),
        access_log: pailou_snapshot::ListenerAccessLog::default(),
        routes,
    })
}

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn route(kind: RouteKind) -> RouteName {
    RouteName { kind, name: Name::new("default", "route"), rule: 0, rule_name: None }
}

fn key(place: usize) -> EndpointKey {
    EndpointKey::Backend(Name::new("default", &format!("backend-{place}")))
}

fn cluster(place: usize) -> Cluster {
    Cluster {
        key: ClusterKey { endpoints: key(place), variant: 0 },
        kind: ClusterKind::Backend,
        protocol: Protocol::Opaque,
        tls: Ok(None),
        load_balancer: LoadBalancer::RoundRobin,
        health: HealthChecks::default(),
        tcp_keepalive: None,
        proxy_protocol: None,
        connection: Default::default(),
    }
}

fn endpoints(clusters: &[&[SocketAddr]]) -> Endpoints {
    let endpoint = |address: &SocketAddr| Endpoint {
        address: Address::Socket(*address),
        name: address.to_string().into(),
        priority: 0,
        role: EndpointRole::Decode,
        context: None,
    };
    clusters.iter().enumerate().map(|(place, addresses)| (key(place), addresses.iter().map(endpoint).collect())).collect()
}
