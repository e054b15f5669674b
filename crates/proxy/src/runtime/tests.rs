use std::{net::SocketAddr, sync::Weak};

use pailou_picker::PickRequest;
use pailou_snapshot::{
    Address, ClientPolicy, Cluster, ClusterKind, EndpointRole, HashSource, HealthChecks, HostMap, LoadBalancer, ModelServer, Name,
    Pool, PortService, Protocol, RoutingStrategy,
};
use tokio::runtime::Handle;

use super::*;
use crate::cluster::AttemptOutcome;
use crate::dns::{Dns, Overrides};

fn background() -> Background {
    crate::health::background(Handle::current(), Dns::new(Handle::current(), Overrides::default()))
}

fn service(name: &str) -> EndpointKey {
    EndpointKey::Service(Name::new("default", name), 80)
}

fn cluster(name: &str, load_balancer: LoadBalancer) -> Arc<Cluster> {
    Arc::new(Cluster {
        key: ClusterKey { endpoints: service(name), variant: 1 },
        kind: ClusterKind::Service,
        protocol: Protocol::Http1,
        tls: Ok(None),
        load_balancer,
        health: HealthChecks::default(),
        tcp_keepalive: None,
        proxy_protocol: None,
        connection: Default::default(),
    })
}

fn snapshot(clusters: Vec<Arc<Cluster>>, pools: &[&str]) -> Arc<Snapshot> {
    let breakers = pools.iter().map(|name| BreakerKey::Pool(Name::new("default", name))).collect();
    Arc::new(Snapshot { clusters, breakers, ..Snapshot::default() })
}

fn cell(numbers: &[u8]) -> Arc<[Endpoint]> {
    let address = |&number| Address::Socket(SocketAddr::from(([10, 0, 0, number], 80)));
    numbers
        .iter()
        .map(|number| Endpoint {
            address: address(number),
            name: "pod".into(),
            priority: 0,
            role: EndpointRole::Decode,
            context: None,
        })
        .collect()
}

#[tokio::test]
async fn equal_keys_carry_state_over_whatever_their_new_place() {
    let background = background();
    let endpoints = Endpoints::from([(service("a"), cell(&[1])), (service("b"), cell(&[2]))]);
    let clusters = vec![cluster("a", LoadBalancer::LeastRequest), cluster("b", LoadBalancer::LeastRequest)];
    let old = Runtime::link(None, snapshot(clusters, &["p", "q"]), &endpoints, &background);
    let attempt = old.cluster(ClusterId(1)).choose(None).unwrap();
    let permit = old.breaker(BreakerId(1)).request(None).unwrap();

    let clusters = vec![cluster("b", LoadBalancer::LeastRequest), cluster("c", LoadBalancer::LeastRequest)];
    let new = Runtime::link(Some(&old), snapshot(clusters, &["q", "r"]), &endpoints, &background);
    assert!(Arc::ptr_eq(new.cluster(ClusterId(0)), old.cluster(ClusterId(1))));
    assert!(Arc::ptr_eq(new.breaker(BreakerId(0)), old.breaker(BreakerId(1))));
    assert_eq!(new.cluster(ClusterId(0)).choose(None).unwrap().endpoint().in_flight(), 2);
    assert_eq!(new.breaker(BreakerId(0)).active(crate::breaker::Resource::Requests), 1);
    assert!(new.cluster(ClusterId(1)).choose(None).is_none());
    drop((attempt, permit));
}

#[tokio::test]
async fn state_that_no_snapshot_names_goes_with_the_last_request() {
    let background = background();
    let endpoints = Endpoints::from([(service("a"), cell(&[1]))]);
    let old = Runtime::link(None, snapshot(vec![cluster("a", LoadBalancer::LeastRequest)], &["p"]), &endpoints, &background);
    let state: Weak<ClusterState> = Arc::downgrade(old.cluster(ClusterId(0)));
    let breaker = Arc::downgrade(old.breaker(BreakerId(0)));
    let (attempt, permit) = (old.cluster(ClusterId(0)).choose(None).unwrap(), old.breaker(BreakerId(0)).request(None).unwrap());
    let new = Runtime::link(Some(&old), snapshot(vec![], &[]), &endpoints, &background);
    drop(old);
    assert!(new.clusters().is_empty() && state.upgrade().is_none());
    // The request ends in peace.
    attempt.report(AttemptOutcome::Reset);
    assert_eq!(attempt.endpoint().in_flight(), 1);
    assert!(breaker.upgrade().is_some());
    drop((attempt, permit));
    assert!(breaker.upgrade().is_none());
}

#[tokio::test]
async fn new_settings_under_an_equal_key_reach_the_state_that_carries_over() {
    let background = background();
    let endpoints = Endpoints::from([(service("a"), cell(&[1, 2, 3, 4, 5]))]);
    let old = Runtime::link(None, snapshot(vec![cluster("a", LoadBalancer::Random)], &[]), &endpoints, &background);
    let balancer = LoadBalancer::ConsistentHash { source: HashSource::SourceIp, table_size: 97 };
    let settings = cluster("a", balancer);
    let new = Runtime::link(Some(&old), snapshot(vec![Arc::clone(&settings)], &[]), &endpoints, &background);
    let state = new.cluster(ClusterId(0));
    assert!(Arc::ptr_eq(state, old.cluster(ClusterId(0))) && Arc::ptr_eq(&state.settings(), &settings));
    let ids: Vec<_> = (0..50).map(|_| state.choose(Some(1234)).unwrap().id()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
}

#[tokio::test]
async fn new_endpoints_need_no_new_snapshot() {
    let background = background();
    let mut endpoints = Endpoints::from([(service("a"), cell(&[1])), (service("b"), cell(&[2]))]);
    let clusters = vec![cluster("a", LoadBalancer::LeastRequest), cluster("b", LoadBalancer::LeastRequest)];
    let runtime = Runtime::link(None, snapshot(clusters, &[]), &endpoints, &background);
    endpoints.insert(service("a"), cell(&[1, 3]));
    endpoints.remove(&service("b"));
    runtime.update_endpoints(&endpoints);
    assert_eq!(runtime.cluster(ClusterId(0)).endpoints().len(), 2);
    assert!(runtime.cluster(ClusterId(1)).choose(None).is_none());
}

#[tokio::test]
async fn ports_are_found_by_address() {
    let address = SocketAddr::from(([0, 0, 0, 0], 8080));
    let client = Arc::new(ClientPolicy::default());
    let port = Port { address, number: 8080, client, service: PortService::Http(HostMap::default()) };
    let snapshot = Arc::new(Snapshot { ports: vec![port], ..Snapshot::default() });
    let runtime = Runtime::link(None, snapshot, &Endpoints::new(), &background());
    assert_eq!(runtime.port(PortKey::tcp(address)).map(|port| port.address), Some(address));
    assert!(runtime.port(PortKey::tcp(SocketAddr::from(([0, 0, 0, 0], 8081)))).is_none());
}

#[tokio::test]
async fn a_pools_picker_carries_over_and_learns_of_new_endpoints() {
    let background = background();
    let name = Name::new("default", "qwen");
    let key = EndpointKey::Pool(name.clone());
    let pool = Pool::new(name, ModelServer::Vllm, RoutingStrategy::Load);
    let mut settings = Cluster::clone(&cluster("a", LoadBalancer::LeastRequest));
    settings.key.endpoints = key.clone();
    settings.kind = ClusterKind::Pool(Arc::new(pool));
    let mut checked = settings.clone();
    checked.key.variant = 2;
    let settings = Arc::new(settings);
    let mut endpoints = Endpoints::from([(key.clone(), cell(&[1]))]);
    let old = Runtime::link(None, snapshot(vec![settings.clone()], &[]), &endpoints, &background);
    let new = Runtime::link(Some(&old), snapshot(vec![settings.clone()], &[]), &endpoints, &background);
    let picker = new.cluster(ClusterId(0)).pool().unwrap();
    assert!(Arc::ptr_eq(picker, old.cluster(ClusterId(0)).pool().unwrap()));
    assert_eq!(picker.snapshot().len(), 1);
    endpoints.insert(key, cell(&[1, 2]));
    new.update_endpoints(&endpoints);
    let picked: Vec<_> = picker.snapshot().into_iter().map(|report| report.endpoint.address).collect();
    assert_eq!(picked.len(), 2);
    assert!(picked.iter().all(|address| new.cluster(ClusterId(0)).has_endpoint(address)));

    // A policy makes a second cluster of the pool, and no second picker.
    let (one, other) = (settings, Arc::new(checked));
    let both = Runtime::link(Some(&new), snapshot(vec![other, one], &[]), &endpoints, &background);
    assert_eq!(both.pools().count(), 1);
    assert!(both.clusters().iter().all(|cluster| Arc::ptr_eq(cluster.pool().unwrap(), picker)));
    let picked = both.cluster(ClusterId(0)).pick(&PickRequest::default()).unwrap();
    let attempts: Vec<_> = both.clusters().iter().map(|cluster| cluster.attempt_picked(picked.endpoint()).unwrap()).collect();
    assert!(attempts.iter().all(|attempt| attempt.endpoint().in_flight() == 1), "one count for both");
    attempts[0].report(AttemptOutcome::Reset);
    drop((attempts, picked));
    assert!(both.clusters().iter().flat_map(|cluster| cluster.endpoints()).all(|endpoint| endpoint.in_flight() == 0));
}
