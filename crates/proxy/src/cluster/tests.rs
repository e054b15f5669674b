use std::{collections::HashSet, net::SocketAddr, sync::Barrier, time::Duration};

use pailou_snapshot::{
    ClusterKind, EndpointKey, EndpointRole, HashSource, HealthChecks, LoadBalancer, Name, Protocol, Roots, TlsVersion, UpstreamTls,
};
use proptest::{collection::vec, prelude::*};
use tokio::runtime::Runtime;

use super::*;
use crate::{
    breaker::{Overflow, Resource},
    dns::{Dns, Overrides},
    local_addresses::LocalAddresses,
};

fn settings(load_balancer: LoadBalancer, health: HealthChecks) -> Arc<Cluster> {
    Arc::new(Cluster {
        key: ClusterKey { endpoints: EndpointKey::Service(Name::new("default", "backend"), 80), variant: 0 },
        kind: ClusterKind::Service,
        protocol: Protocol::Http1,
        tls: Ok(None),
        load_balancer,
        health,
        tcp_keepalive: None,
        proxy_protocol: None,
        connection: Default::default(),
    })
}

fn endpoint(number: u8, priority: u8) -> Endpoint {
    let address = SocketAddr::from(([10, 0, 0, number], 8000));
    Endpoint {
        address: Address::Socket(address),
        name: format!("pod-{number}").into(),
        priority,
        role: EndpointRole::Decode,
        context: None,
    }
}

fn endpoints(numbers: impl IntoIterator<Item = u8>) -> Arc<[Endpoint]> {
    numbers.into_iter().map(|number| endpoint(number, 0)).collect()
}

#[test]
fn tls_is_made_anew_only_where_its_settings_differ() {
    let with_tls = |sni: &str| {
        let tls = UpstreamTls {
            sni: sni.into(),
            is_by_host: false,
            names: Vec::new(),
            roots: Roots::System,
            insecure_skip_verify: true,
            client_certificate: None,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
        };
        let plain = settings(LoadBalancer::default(), HealthChecks::default());
        Arc::new(Cluster { tls: Ok(Some(Arc::new(tls))), ..Cluster::clone(&plain) })
    };
    let first = ClusterSettings::new(with_tls("a.test"), LocalAddresses::Allowed, None);
    let made_from = |cluster| ClusterSettings::new(cluster, LocalAddresses::Allowed, Some(&first)).tls.unwrap().unwrap();
    let made = first.tls.clone().unwrap().unwrap();
    // Sessions that can be resumed are kept with it.
    assert!(Arc::ptr_eq(&made_from(with_tls("a.test")), &made));
    assert!(!Arc::ptr_eq(&made_from(with_tls("b.test")), &made));
}

struct World {
    cluster: Arc<ClusterState>,
    _tasks: Runtime,
}

fn world(load_balancer: LoadBalancer, health: HealthChecks, endpoints: &Arc<[Endpoint]>) -> World {
    fastrand::seed(7);
    let tasks = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let background = crate::health::background(tasks.handle().clone(), Dns::new(tasks.handle().clone(), Overrides::default()));
    World { cluster: ClusterState::new(settings(load_balancer, health), Arc::clone(endpoints), None, &background), _tasks: tasks }
}

fn passive(percent: u8) -> HealthChecks {
    let check = PassiveCheck {
        interval: Duration::from_secs(3),
        consecutive_5xx: Some(3),
        consecutive_gateway_errors: Some(2),
        base_ejection: Duration::from_secs(30),
        max_ejection_percent: percent,
    };
    HealthChecks { passive: Some(check), ..HealthChecks::default() }
}

fn consistent(table_size: u32) -> LoadBalancer {
    LoadBalancer::ConsistentHash { source: HashSource::SourceIp, table_size }
}

impl World {
    /// How often each pod is chosen, by number; attempts end at once.
    fn counts(&self, rounds: usize, now: Instant) -> HashMap<String, usize> {
        let mut counts = HashMap::new();
        for _ in 0..rounds {
            let attempt = self.cluster.choose_at(None, &[], || now).unwrap();
            *counts.entry(attempt.endpoint().endpoint().name.to_string()).or_default() += 1;
        }
        counts
    }

    fn at(&self, number: u8) -> Attempt {
        EndpointState::attempt(self.cluster.view.load().members.find(&endpoint(number, 0).address).unwrap())
    }

    fn fail(&self, number: u8, outcome: AttemptOutcome, times: usize, now: Instant) {
        (0..times).for_each(|_| self.at(number).report_at(outcome, || now));
    }
}

#[test]
fn no_endpoints_choose_none() {
    let world = world(LoadBalancer::LeastRequest, HealthChecks::default(), &endpoints([]));
    assert!(world.cluster.choose(None).is_none());
    assert!(!world.cluster.has_endpoint(&endpoint(1, 0).address));
}

#[test]
fn an_attempt_counts_until_it_is_dropped() {
    let world = world(LoadBalancer::LeastRequest, HealthChecks::default(), &endpoints([1]));
    let first = world.cluster.choose(None).unwrap();
    let second = world.cluster.choose(None).unwrap();
    assert_eq!(first.endpoint().in_flight(), 2);
    drop(second);
    assert_eq!(first.endpoint().in_flight(), 1);
}

#[test]
fn of_two_endpoints_the_less_loaded_is_always_chosen() {
    let world = world(LoadBalancer::LeastRequest, HealthChecks::default(), &endpoints([1, 2]));
    let _busy = world.at(1);
    assert_eq!(world.counts(100, Instant::now()), HashMap::from([("pod-2".to_owned(), 100)]));
}

#[test]
fn two_choices_keep_held_load_close_to_even_and_idle_ties_random() {
    let world = world(LoadBalancer::LeastRequest, HealthChecks::default(), &endpoints(0..10));
    let held: Vec<_> = (0..1000).map(|_| world.cluster.choose(None).unwrap()).collect();
    let loads: Vec<_> = world.cluster.endpoints().iter().map(|endpoint| endpoint.in_flight()).collect();
    assert!(loads.iter().all(|load| (96..=104).contains(load)), "{loads:?}");
    drop(held);
    let counts = world.counts(10_000, Instant::now());
    assert!(counts.values().all(|count| (900..=1100).contains(count)), "{counts:?}");
}

#[test]
fn round_robin_goes_one_after_the_other() {
    let world = world(LoadBalancer::RoundRobin, HealthChecks::default(), &endpoints([1, 2, 3]));
    let names: Vec<_> = (0..7).map(|_| world.cluster.choose(None).unwrap().endpoint().endpoint().name.to_string()).collect();
    assert_eq!(names, ["pod-1", "pod-2", "pod-3", "pod-1", "pod-2", "pod-3", "pod-1"]);
}

#[test]
fn random_spreads_evenly() {
    let world = world(LoadBalancer::Random, HealthChecks::default(), &endpoints(0..4));
    let counts = world.counts(10_000, Instant::now());
    assert!(counts.values().all(|count| (2300..=2700).contains(count)), "{counts:?}");
}

#[test]
fn attempts_of_one_request_walk_all_endpoints_before_any_is_tried_again() {
    for balancer in [LoadBalancer::LeastRequest, LoadBalancer::RoundRobin, LoadBalancer::Random, consistent(97)] {
        let cell: Arc<[Endpoint]> = (0..5).map(|number| endpoint(number, number / 3)).collect();
        let world = world(balancer, HealthChecks::default(), &cell);
        for hash in (0..20_u64).map(|key| Some(key << 32 | key)) {
            let mut tried = Vec::new();
            for round in 0..5 {
                let attempt = world.cluster.choose_excluding(hash, &tried).unwrap();
                assert!(!tried.contains(&attempt.id()));
                // Endpoints of the first priority come first.
                assert_eq!(attempt.endpoint().endpoint().priority, u8::from(round >= 3));
                tried.push(attempt.id());
            }
            let again = world.cluster.choose_excluding(hash, &tried).unwrap();
            assert_eq!(again.endpoint().endpoint().priority, 0);
        }
    }
}

#[test]
fn equal_hashes_lead_to_the_same_endpoint_whatever_the_order_of_the_list() {
    let (one, other) = (endpoints(0..10), endpoints((0..10).rev()));
    let one = world(consistent(65537), HealthChecks::default(), &one);
    let other = world(consistent(65537), HealthChecks::default(), &other);
    let mut seen = HashSet::new();
    for key in 0..1000_u64 {
        let hash = Some(xxhash_rust::xxh3::xxh3_64(&key.to_le_bytes()));
        let name = Arc::clone(&one.cluster.choose(hash).unwrap().endpoint().endpoint().name);
        assert_eq!(name, other.cluster.choose(hash).unwrap().endpoint().endpoint().name);
        seen.insert(name);
    }
    assert_eq!(seen.len(), 10);
    // Without a hash requests are spread.
    assert_eq!(one.counts(1000, Instant::now()).len(), 10);
}

#[test]
fn an_ejected_endpoint_returns_after_its_time_and_stays_out_longer_the_next_time() {
    let world = world(LoadBalancer::LeastRequest, passive(100), &endpoints(0..5));
    let start = Instant::now();
    let second = Duration::from_secs(1);
    world.fail(3, AttemptOutcome::ServerError, 2, start);
    assert_eq!(world.counts(200, start).len(), 5);
    world.fail(3, AttemptOutcome::ServerError, 1, start);
    assert!(!world.counts(200, start + 29 * second).contains_key("pod-3"));
    let back = start + 30 * second;
    assert!(world.counts(200, back).contains_key("pod-3"));
    assert_eq!(world.at(3).endpoint().ejected_until(), None);
    // Counting starts anew; the second ejection is twice as long.
    world.fail(3, AttemptOutcome::ServerError, 2, back);
    assert!(world.counts(200, back).contains_key("pod-3"));
    world.fail(3, AttemptOutcome::ServerError, 1, back);
    assert!(!world.counts(200, back + 59 * second).contains_key("pod-3"));
    assert!(world.counts(200, back + 60 * second).contains_key("pod-3"));
    // Intervals spent well are forgiven.
    let later = back + 120 * second;
    world.fail(3, AttemptOutcome::ServerError, 3, later);
    assert!(world.counts(200, later + 30 * second).contains_key("pod-3"));
}

#[test]
fn successes_and_plain_500s_break_a_row_of_gateway_errors() {
    let world = world(LoadBalancer::LeastRequest, passive(100), &endpoints(0..5));
    let now = Instant::now();
    let ejected = |number| world.at(number).endpoint().ejected_until().is_some();
    world.fail(1, AttemptOutcome::GatewayError, 1, now);
    world.fail(1, AttemptOutcome::of(http::StatusCode::TOO_MANY_REQUESTS), 1, now);
    world.fail(1, AttemptOutcome::ConnectFailure, 1, now);
    world.fail(1, AttemptOutcome::ServerError, 1, now);
    assert!(!ejected(1));
    // The third 5xx in a row, though only the first gateway error.
    world.fail(1, AttemptOutcome::Reset, 1, now);
    assert!(ejected(1));
    world.fail(2, AttemptOutcome::ConnectFailure, 2, now);
    assert!(ejected(2));
    // An attempt that says nothing of the endpoint neither breaks the row nor counts in it.
    world.fail(3, AttemptOutcome::ConnectFailure, 1, now);
    world.fail(3, AttemptOutcome::Unknown, 3, now);
    assert!(!ejected(3));
    world.fail(3, AttemptOutcome::ConnectFailure, 1, now);
    assert!(ejected(3));
}

#[test]
fn one_endpoint_may_be_ejected_but_no_more_than_the_percentage() {
    let world = world(LoadBalancer::LeastRequest, passive(10), &endpoints(0..19));
    let now = Instant::now();
    (0..19).for_each(|number| world.fail(number, AttemptOutcome::ServerError, 6, now));
    assert_eq!(world.cluster.endpoints().iter().filter(|endpoint| endpoint.ejected_until().is_some()).count(), 1);
    assert_eq!(world.counts(1000, now).len(), 18);
}

#[test]
fn requests_spill_over_to_the_fallback_as_the_primary_loses_endpoints() {
    let cell: Arc<[Endpoint]> = (0..8).map(|number| endpoint(number, number / 4)).collect();
    let world = world(LoadBalancer::LeastRequest, passive(100), &cell);
    let now = Instant::now();
    let fallback = |rounds| -> usize {
        let counts = world.counts(rounds, now);
        (4..8).map(|number| counts.get(&format!("pod-{number}")).copied().unwrap_or(0)).sum()
    };
    assert_eq!(fallback(1000), 0);
    world.fail(0, AttemptOutcome::ServerError, 3, now);
    assert_eq!(fallback(1000), 0, "3 of 4 are more than 72 %");
    world.fail(1, AttemptOutcome::ServerError, 3, now);
    let spilled = fallback(10_000);
    assert!((2800..=3200).contains(&spilled), "{spilled}: half of the primary carries 70 %");
    world.fail(2, AttemptOutcome::ServerError, 3, now);
    world.fail(3, AttemptOutcome::ServerError, 3, now);
    assert_eq!(fallback(1000), 1000);
}

#[test]
fn below_the_panic_threshold_all_endpoints_are_used() {
    let cell = endpoints(0..4);
    let mut health = passive(100);
    let now = Instant::now();
    for (threshold, used) in [(None, 4), (Some(0), 1), (Some(25), 1)] {
        health.panic_threshold = threshold;
        let world = world(LoadBalancer::LeastRequest, health.clone(), &cell);
        (0..3).for_each(|number| world.fail(number, AttemptOutcome::ServerError, 3, now));
        assert_eq!(world.counts(400, now).len(), used, "{threshold:?}");
    }
    health.panic_threshold = Some(0);
    let world = world(LoadBalancer::LeastRequest, health, &cell);
    (0..4).for_each(|number| world.fail(number, AttemptOutcome::ServerError, 3, now));
    assert!(world.cluster.choose_at(None, &[], || now).is_none());
}

#[test]
fn endpoints_that_stay_keep_their_state_and_a_new_pod_at_an_old_address_starts_afresh() {
    let world = world(LoadBalancer::LeastRequest, HealthChecks::default(), &endpoints([1, 2]));
    let (one, two) = (world.at(1), world.at(2));
    let mut cell: Vec<Endpoint> = vec![endpoint(1, 0), endpoint(2, 0), endpoint(3, 0)];
    cell[1].name = "pod-2-again".into();
    world.cluster.update_endpoints(&cell.into());
    assert!(Arc::ptr_eq(world.at(1).endpoint(), one.endpoint()));
    assert!(!Arc::ptr_eq(world.at(2).endpoint(), two.endpoint()));
    assert_eq!((one.endpoint().in_flight(), world.at(3).endpoint().in_flight()), (1, 1));
    // An endpoint that is gone may still end its requests and report them.
    world.cluster.update_endpoints(&endpoints([1]));
    two.report(AttemptOutcome::Reset);
    drop(two);
    assert_eq!(world.counts(10, Instant::now()).len(), 1);
}

#[test]
fn an_endpoints_connections_are_limited() {
    let world = world(LoadBalancer::LeastRequest, HealthChecks::default(), &endpoints([1]));
    let endpoint = Arc::clone(world.at(1).endpoint());
    let first = endpoint.connection(Some(1)).unwrap();
    assert_eq!(endpoint.connection(Some(1)).unwrap_err(), Overflow(Resource::Connections));
    assert!(endpoint.connection(None).is_ok());
    drop(first);
    assert_eq!(endpoint.connections(), 0);
}

#[test]
fn choosing_goes_on_while_endpoints_come_go_and_fail() {
    const THREADS: usize = 4;
    let world = world(LoadBalancer::LeastRequest, passive(50), &endpoints(0..8));
    let start = Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (cluster, start) = (&world.cluster, &start);
            scope.spawn(move || {
                start.wait();
                for round in 0..3_000 {
                    let attempt = cluster.choose(None).expect("endpoints 0 to 3 are always there");
                    let outcome = if (round + thread) % 3 == 0 { AttemptOutcome::Success } else { AttemptOutcome::GatewayError };
                    attempt.report(outcome);
                }
            });
        }
        start.wait();
        for round in 0..200 {
            world.cluster.update_endpoints(&endpoints(0..4 + round % 5));
        }
    });
    assert!(world.cluster.endpoints().iter().all(|endpoint| endpoint.in_flight() == 0));
}

#[derive(Clone, Debug)]
enum Step {
    Endpoints(Vec<(u8, u8)>),
    Choose(Option<u64>),
    End,
    Report(u8, bool),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        vec((0..6_u8, 0..3_u8), 0..8).prop_map(Step::Endpoints),
        any::<Option<u64>>().prop_map(Step::Choose),
        Just(Step::End),
        (any::<u8>(), prop::bool::weighted(0.2)).prop_map(|(which, success)| Step::Report(which, success)),
        any::<u8>().prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_books_balance_and_someone_is_chosen(
        balancer in prop_oneof![Just(LoadBalancer::LeastRequest), Just(LoadBalancer::RoundRobin), Just(consistent(13))],
        steps in vec(step(), 1..60),
    ) {
        let world = world(balancer, passive(40), &endpoints([]));
        let (mut now, mut held, mut cell) = (Instant::now(), Vec::<Attempt>::new(), endpoints([]));
        for step in steps {
            match step {
                Step::Endpoints(list) => {
                    cell = list.into_iter().map(|(number, priority)| endpoint(number, priority)).collect();
                    world.cluster.update_endpoints(&cell);
                }
                Step::Choose(hash) => {
                    let tried: Vec<_> = held.iter().map(Attempt::id).collect();
                    let attempt = world.cluster.choose_at(hash, &tried, || now);
                    prop_assert_eq!(attempt.is_some(), !cell.is_empty());
                    if let Some(attempt) = attempt {
                        prop_assert!(cell.iter().any(|endpoint| endpoint.address == attempt.endpoint().endpoint().address));
                        held.push(attempt);
                    }
                }
                Step::End => drop(held.pop()),
                Step::Report(which, success) if !held.is_empty() => {
                    let outcome = if success { AttemptOutcome::Success } else { AttemptOutcome::Reset };
                    held[usize::from(which) % held.len()].report_at(outcome, || now);
                }
                Step::Report(..) => {}
                Step::Wait(seconds) => now += Duration::from_secs(seconds.into()),
            }
            for endpoint in world.cluster.endpoints() {
                let mine = held.iter().filter(|attempt| Arc::ptr_eq(attempt.endpoint(), &endpoint)).count();
                prop_assert_eq!(endpoint.in_flight() as usize, mine);
            }
        }
    }
}
