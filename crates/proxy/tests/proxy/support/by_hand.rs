//! A proxy with a snapshot made by hand, and a client that reads as bluntly as possible.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pailou_proxy::{Proxy, access_log::Sink};
use pailou_snapshot::{
    Action, Address, BackendRef, Backends, BreakerId, BreakerKey, ClientPolicy, Cluster, ClusterId, ClusterKey, ClusterKind,
    Conditions, Endpoint, EndpointKey, EndpointRole, Endpoints, HealthChecks, HostMap, Listener, ListenerName, LoadBalancer,
    ModelServer, Name, PathMatch, Pool, Port, PortService, Protocol, RouteKind, RouteMatch, RouteName, RouteTable, RoutingStrategy,
    Rule, Snapshot, ValueMatch,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::options;

/// A running proxy in front of one pool that serves the model `qwen`.
pub(crate) struct Gateway {
    pub(crate) proxy: Proxy,
    pub(crate) address: SocketAddr,
}

impl Gateway {
    /// Starts one with these engines; `change` may alter the rule.
    pub(crate) fn start(engines: &[SocketAddr], change: impl FnOnce(&mut Rule)) -> Self {
        let mut rule = rule();
        change(&mut rule);
        Self::of(engines, rule, |_| {})
    }

    /// Starts one with these engines; `change` may alter the pool.
    pub(crate) fn with_pool(engines: &[SocketAddr], change: impl FnOnce(&mut Pool)) -> Self {
        Self::of(engines, rule(), change)
    }

    fn of(engines: &[SocketAddr], rule: Rule, change: impl FnOnce(&mut Pool)) -> Self {
        let proxy = Proxy::start(options(2, Sink::Off)).unwrap();
        let mut pool = pool();
        change(&mut pool);
        let snapshot = Arc::new(snapshot(rule, pool));
        let errors = proxy.apply(&snapshot, &endpoints(engines));
        assert!(errors.is_empty(), "{errors:?}");
        let address = proxy.addresses()[0].1;
        Self { proxy, address }
    }

    /// Sends a request as it stands, and reads until `enough` says so or the connection ends.
    pub(crate) async fn exchange(&self, request: &str, enough: impl Fn(&str) -> bool) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_until(&mut stream, enough).await
    }

    /// One chat call on a connection of its own.
    pub(crate) async fn chat(&self, body: &str) -> String {
        self.exchange(&chat(body), |_| false).await
    }
}

/// A chat call that closes its connection.
pub(crate) fn chat(body: &str) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Bytes until they are enough, or the connection ends, or 10 s have passed.
pub(crate) async fn read_until(stream: &mut TcpStream, enough: impl Fn(&str) -> bool) -> String {
    let mut read = Vec::new();
    let _ = timeout(Duration::from_secs(60), async {
        while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
            if enough(&String::from_utf8_lossy(&read)) {
                break;
            }
        }
    })
    .await;
    String::from_utf8_lossy(&read).into_owned()
}

fn rule() -> Rule {
    let backend = BackendRef {
        weight: 1,
        fallback: false,
        filters: Arc::default(),
        cluster: Ok(ClusterId(0)),
        breaker: BreakerId(0),
        limits: None,
    };
    Rule {
        session: None,
        route: RouteName { kind: RouteKind::Http, name: Name::new("default", "route"), rule: 0, rule_name: None },
        filters: Arc::default(),
        action: Action::Forward(Backends::new(vec![backend])),
        policy: Arc::default(),
        needs_body: true,
        numbered_matches: Box::default(),
    }
}

fn pool_name() -> Name {
    Name::new("default", "qwen-pool")
}

fn pool() -> Pool {
    Pool::new(pool_name(), ModelServer::Vllm, RoutingStrategy::Load)
}

fn snapshot(rule: Rule, pool: Pool) -> Snapshot {
    let cluster = Cluster {
        key: ClusterKey { endpoints: EndpointKey::Pool(pool_name()), variant: 0 },
        kind: ClusterKind::Pool(Arc::new(pool)),
        protocol: Protocol::Http1,
        tls: Ok(None),
        load_balancer: LoadBalancer::default(),
        health: HealthChecks::default(),
        tcp_keepalive: None,
        proxy_protocol: None,
        connection: Default::default(),
    };
    let entry = RouteMatch {
        path: PathMatch::Prefix("".into()),
        conditions: Conditions { model: Some(ValueMatch::Exact("qwen".into())), ..Conditions::default() }.shared(),
        rule: Arc::new(rule),
    };
    let routes = [(None, vec![entry])].into_iter().collect::<RouteTable>();
    let client = Arc::new(ClientPolicy { buffer_limit: 1 << 20, ..ClientPolicy::default() });
    let name = ListenerName { gateway: Name::new("default", "gateway"), set: None, section: "http".into() };
    let mut listeners = HostMap::default();
    listeners.insert(
        None,
        Arc::new(Listener {
            name,
            hostname: None,
            tls: None,
            client: client.clone(),
            filters: Vec::new(),
            identity_headers: Arc::default(),
            costs: None,
            geo: None,
            tracing: pailou_snapshot::ListenerTracing::default(),
            access_log: pailou_snapshot::ListenerAccessLog::default(),
            routes,
        }),
    );
    Snapshot {
        ports: vec![Port { address: "127.0.0.1:0".parse().unwrap(), number: 0, client, service: PortService::Http(listeners) }],
        clusters: vec![Arc::new(cluster)],
        breakers: vec![BreakerKey::Pool(pool_name())],
        ..Snapshot::default()
    }
}

fn endpoints(engines: &[SocketAddr]) -> Endpoints {
    let endpoints = engines
        .iter()
        .map(|address| Endpoint {
            address: Address::Socket(*address),
            name: address.to_string().into(),
            priority: 0,
            role: EndpointRole::Decode,
            context: None,
        })
        .collect();
    Endpoints::from([(EndpointKey::Pool(pool_name()), endpoints)])
}
