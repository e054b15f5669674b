use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pailou_snapshot::{
    Address, Cluster, ClusterKey, ClusterKind, Endpoint, EndpointKey, EndpointRole, Failure, HealthChecks, HealthProbe,
    LoadBalancer, Name, Protocol, Roots, San, TlsVersion, UpstreamTls,
};
use tokio::net::TcpListener;

use super::*;
use crate::dns::Overrides;

/// A server whose health can be switched, over HTTP/1 and as a gRPC health service over HTTP/2.
struct Backend {
    address: SocketAddr,
    healthy: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
}

impl Backend {
    async fn start(protocol: Protocol) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (healthy, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
        let state = (Arc::clone(&healthy), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = state.clone();
                let service = service_fn(move |request| answer(request, state.clone()));
                let stream = TokioIo::new(stream);
                match protocol {
                    Protocol::Http1 | Protocol::Opaque => {
                        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(stream, service));
                    }
                    Protocol::Http2 => {
                        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        tokio::spawn(server.serve_connection(stream, service));
                    }
                }
            }
        });
        Self { address, healthy, asked }
    }
}

async fn answer(
    request: Request<Incoming>,
    (healthy, asked): (Arc<AtomicBool>, Arc<AtomicU32>),
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    asked.fetch_add(1, Ordering::SeqCst);
    let healthy = healthy.load(Ordering::SeqCst);
    let mut response = Response::new(Full::default());
    if head.uri.path() == "/grpc.health.v1.Health/Check" && body[..] == *b"\0\0\0\0\x05\x0a\x03llm" {
        let status = if healthy { 1 } else { 2 };
        *response.body_mut() = Full::new(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, status]));
    } else if !(healthy && head.uri.path() == "/health" && head.headers.get("host").is_some_and(|host| host == "llm.test")) {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

fn cluster(protocol: Protocol, probe: HealthProbe, addresses: &[SocketAddr]) -> Arc<ClusterState> {
    cluster_with_tls(protocol, probe, addresses, Ok(None))
}

fn cluster_with_tls(
    protocol: Protocol,
    probe: HealthProbe,
    addresses: &[SocketAddr],
    tls: Result<Option<Arc<UpstreamTls>>, Failure>,
) -> Arc<ClusterState> {
    let check = ActiveCheck {
        timeout: Duration::from_millis(500),
        interval: Duration::from_millis(20),
        unhealthy_threshold: 2,
        healthy_threshold: 1,
        probe,
    };
    let settings = Cluster {
        key: ClusterKey { endpoints: EndpointKey::Backend(Name::new("default", "llm")), variant: 0 },
        kind: ClusterKind::Backend,
        protocol,
        tls,
        load_balancer: LoadBalancer::LeastRequest,
        health: HealthChecks { active: Some(check), passive: None, panic_threshold: Some(0) },
        tcp_keepalive: None,
        proxy_protocol: None,
        connection: Default::default(),
    };
    let endpoints = addresses
        .iter()
        .map(|&address| Endpoint {
            address: Address::Socket(address),
            name: address.to_string().into(),
            priority: 0,
            role: EndpointRole::Decode,
            context: None,
        })
        .collect();
    let background = super::background(Handle::current(), Dns::new(Handle::current(), Overrides::default()));
    ClusterState::new(Arc::new(settings), endpoints, None, &background)
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within five seconds: {what}");
}

/// Healthy, then not, then healthy again.
async fn follows(backend: &Backend, cluster: &Arc<ClusterState>) {
    until("asked", || backend.asked.load(Ordering::SeqCst) > 1).await;
    assert!(cluster.choose(None).is_some());
    backend.healthy.store(false, Ordering::SeqCst);
    until("left out", || cluster.choose(None).is_none()).await;
    backend.healthy.store(true, Ordering::SeqCst);
    until("back", || cluster.choose(None).is_some()).await;
}

fn http(statuses: Vec<StatusCode>) -> HealthProbe {
    HealthProbe::Http { hostname: Some("llm.test".into()), path: "/health".into(), method: http::Method::GET, statuses }
}

#[tokio::test]
async fn an_endpoint_is_left_out_while_its_answers_are_not_as_expected() {
    let backend = Backend::start(Protocol::Http1).await;
    let cluster = cluster(Protocol::Http1, http(vec![StatusCode::OK]), &[backend.address]);
    follows(&backend, &cluster).await;
}

#[tokio::test]
async fn a_grpc_service_is_left_out_while_it_says_it_is_not_serving() {
    let backend = Backend::start(Protocol::Http2).await;
    let cluster = cluster(Protocol::Http2, HealthProbe::Grpc { service: "llm".into() }, &[backend.address]);
    follows(&backend, &cluster).await;
}

#[tokio::test]
async fn http_probes_speak_http2_to_clusters_that_do() {
    let backend = Backend::start(Protocol::Http2).await;
    // A server of HTTP/2 alone, whose host is the authority: it answers 503 for want of a Host header, which is a status like others.
    let cluster = cluster(Protocol::Http2, http(vec![StatusCode::SERVICE_UNAVAILABLE]), &[backend.address]);
    until("asked", || backend.asked.load(Ordering::SeqCst) > 2).await;
    assert!(cluster.choose(None).is_some());
}

#[tokio::test]
async fn a_port_that_refuses_connections_fails_from_the_first_check_on_and_others_carry_on() {
    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (open_at, closed_at) = (open.local_addr().unwrap(), closed.local_addr().unwrap());
    drop(closed);
    let cluster = cluster(Protocol::Http1, HealthProbe::Tcp, &[open_at, closed_at]);
    assert!(cluster.endpoints().iter().all(|endpoint| endpoint.passes_checks()), "healthy until checked");
    let passing = || cluster.endpoints().iter().filter(|endpoint| endpoint.passes_checks()).count();
    until("left out", || passing() == 1).await;
    for _ in 0..50 {
        assert_eq!(cluster.choose(None).unwrap().endpoint().endpoint().address, Address::Socket(open_at));
    }
}

#[tokio::test]
async fn checks_end_with_their_cluster() {
    let backend = Backend::start(Protocol::Http1).await;
    let cluster = cluster(Protocol::Http1, http(vec![StatusCode::OK]), &[backend.address]);
    until("asked", || backend.asked.load(Ordering::SeqCst) > 0).await;
    drop(cluster);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let asked = backend.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(backend.asked.load(Ordering::SeqCst), asked);
}

#[tokio::test]
async fn probes_of_a_cluster_with_tls_speak_it_and_check_the_certificate() {
    let issued = rcgen::generate_simple_self_signed(["llm.test".to_owned()]).unwrap();
    let (certificate, key) = (issued.cert.der().clone(), issued.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], rustls_pki_types::PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let asked = Arc::clone(&state.1);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, state) = (acceptor.clone(), state.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| answer(request, state.clone()));
                // The probe hangs up when it has its answer.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let with_names = |names: &[&str]| {
        Ok(Some(Arc::new(UpstreamTls {
            sni: "llm.test".into(),
            is_by_host: false,
            names: names.iter().map(|name| San::Hostname((*name).into())).collect(),
            roots: Roots::Certificates(Arc::from([certificate.clone()])),
            insecure_skip_verify: false,
            client_certificate: None,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
        })))
    };
    let trusted = cluster_with_tls(Protocol::Http1, http(vec![StatusCode::OK]), &[address], with_names(&["llm.test"]));
    until("asked", || asked.load(Ordering::SeqCst) > 2).await;
    assert!(trusted.choose(None).is_some());
    let other = cluster_with_tls(Protocol::Http1, http(vec![StatusCode::OK]), &[address], with_names(&["other.test"]));
    until("left out", || other.choose(None).is_none()).await;
    let broken = cluster_with_tls(Protocol::Http1, HealthProbe::Tcp, &[address], Err(Failure("no CA".into())));
    until("left out", || broken.choose(None).is_none()).await;
    assert_eq!(broken.current_settings().tls.clone().unwrap_err(), Failure("no CA".into()));
    assert!(trusted.choose(None).is_some());
}
