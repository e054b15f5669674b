use super::*;
use crate::overview::{Sum, WaitingFlow};

fn histogram(counts: &[u64]) -> Histogram {
    Histogram { bounds: vec![0.1, 1.0], counts: counts.to_vec(), sum: 2.0, count: counts.last().copied().unwrap_or(0) }
}

fn endpoint(name: &str, state: &str, requests: u64) -> EndpointRow {
    EndpointRow {
        name: name.to_owned(),
        address: "10.0.0.1:8000".to_owned(),
        state: state.to_owned(),
        problem: (state != "ready").then(|| format!("it is {state}")),
        waiting: 2.0,
        running: 5.0,
        kv: 0.5,
        in_flight: 3,
        requests,
        ..EndpointRow::default()
    }
}

fn sample(requests: u64, state: &str) -> Overview {
    let pool = PoolRow {
        name: "default/qwen".to_owned(),
        backend: "pool/default/qwen".to_owned(),
        saturation: 0.25,
        endpoints: vec![endpoint("a", state, requests)],
        queue: Some(WaitingRequests {
            waiting: 4,
            oldest_wait_seconds: 1.5,
            outcomes: BTreeMap::from([("served".to_owned(), 9)]),
            ..WaitingRequests::default()
        }),
        predicted_tokens: 10,
        ..PoolRow::default()
    };
    let model = ModelRow {
        model: "m".to_owned(),
        sent: "m".to_owned(),
        requests,
        ttft: Sum { sum: 1.0, count: requests },
        ..ModelRow::default()
    };
    Overview {
        requests: Some(RequestCounts {
            active: 2,
            total: requests,
            by_status: BTreeMap::from([("2xx".to_owned(), requests)]),
            flags: BTreeMap::from([("UH".to_owned(), 1)]),
            ..RequestCounts::default()
        }),
        latency: Some(Latencies { ttft: histogram(&[1, 2, 3]), ..Latencies::default() }),
        tokens: Some(TokenCounts { input: 7, ..TokenCounts::default() }),
        cost_usd: Some(0.5),
        queue: Some(WaitingRequests { waiting: 4, oldest_wait_seconds: 1.5, ..WaitingRequests::default() }),
        models: Some(vec![model]),
        pools: Some(vec![pool]),
        receipts: Some(ReceiptCounts { kept: 3, dropped: 1 }),
        ..Overview::default()
    }
}

fn sum(samples: &[(Overview, Moment)]) -> Overview {
    let mut sum = Overview::default();
    for (sample, moment) in samples {
        add(&mut sum, sample, *moment);
    }
    finish(&mut sum);
    sum
}

#[test]
fn counts_add_up_and_an_engine_is_one_row_however_many_proxies_pick_it() {
    let both = sum(&[(sample(5, "ready"), Moment::Now), (sample(6, "ejected"), Moment::Now)]);
    let requests = both.requests.unwrap();
    assert_eq!((requests.active, requests.total, requests.by_status["2xx"], requests.flags["UH"]), (4, 11, 11, 2));
    assert_eq!(both.latency.unwrap().ttft, Histogram { sum: 4.0, ..histogram(&[2, 4, 6]) });
    assert_eq!((both.tokens.unwrap().input, both.cost_usd, both.queue.unwrap().waiting), (14, Some(1.0), 8));
    assert_eq!(both.models.unwrap()[0].ttft, Sum { sum: 2.0, count: 11 });
    let [pool] = &both.pools.unwrap()[..] else { panic!("one pool") };
    assert_eq!((pool.predicted_tokens, pool.queue.as_ref().unwrap().outcomes["served"]), (20, 18));
    let [row] = &pool.endpoints[..] else { panic!("one engine") };
    assert_eq!((row.requests, row.in_flight), (11, 6), "each proxy has its own");
    assert_eq!((row.waiting, row.running, row.kv), (2.0, 5.0, 0.5), "both read the engine's");
    assert_eq!((&*row.state, row.problem.as_deref()), ("ejected", Some("it is ejected")));
}

#[test]
fn a_proxy_that_is_away_keeps_its_counts_and_says_nothing_of_now() {
    let both = sum(&[(sample(5, "ready"), Moment::Now), (sample(6, "ejected"), Moment::Past)]);
    let requests = both.requests.unwrap();
    assert_eq!((requests.active, requests.total, both.queue.unwrap().waiting), (2, 11, 4));
    let row = &both.pools.unwrap()[0].endpoints[0];
    assert_eq!((&*row.state, row.requests, row.in_flight), ("ready", 11, 3));
    let away = sum(&[(sample(6, "ready"), Moment::Past)]);
    assert_eq!((away.requests.unwrap().total, away.pools.unwrap().len()), (6, 0), "nobody knows of the engines now");
}

#[test]
fn durations_of_other_buckets_do_not_belie_the_quantiles() {
    let mut other = sample(1, "ready");
    other.latency.as_mut().unwrap().ttft.bounds = vec![0.2, 2.0];
    let both = sum(&[(sample(1, "ready"), Moment::Now), (other, Moment::Now)]);
    assert_eq!(both.latency.unwrap().ttft, histogram(&[1, 2, 3]));
}

#[test]
fn lists_are_as_long_as_those_of_one_process() {
    let mut wide = sample(1, "ready");
    wide.models = Some(
        (0..MAX_MODELS + 9).map(|at| ModelRow { model: format!("m{at}"), requests: at as u64, ..ModelRow::default() }).collect(),
    );
    let pool = |at: usize| PoolRow {
        name: format!("p{at:03}"),
        backend: "pool".to_owned(),
        endpoints: (0..20).map(|at| endpoint(&format!("e{at}"), if at == 19 { "failing" } else { "ready" }, 1)).collect(),
        ..PoolRow::default()
    };
    wide.pools = Some((0..MAX_POOLS + 3).map(pool).collect());
    let all = sum(&[(wide, Moment::Now)]);
    assert_eq!((all.models.as_ref().unwrap().len(), all.models_omitted, all.pools_omitted), (MAX_MODELS, 9, 3));
    assert_eq!(all.models.unwrap()[0].model, format!("m{}", MAX_MODELS + 8));
    let pools = all.pools.unwrap();
    assert_eq!((pools[0].endpoints.len(), pools[0].endpoints_omitted), (MAX_ENDPOINTS / MAX_POOLS, 10));
    assert!(pools[0].endpoints.iter().any(|endpoint| endpoint.state == "failing"));
}

#[test]
fn levels_of_a_queue_are_added_by_priority_and_flow_and_bounded() {
    let flow = |name: &str, requests| WaitingFlow { name: Some(name.to_owned()), requests, oldest_wait_seconds: 1.0 };
    let level =
        |priority, flows: Vec<WaitingFlow>| WaitingLevel { priority, requests: 3, bytes: 10, flows, ..WaitingLevel::default() };
    let with = |levels| {
        let pool = PoolRow {
            queue: Some(WaitingRequests { levels, ..WaitingRequests::default() }),
            ..sample(1, "ready").pools.unwrap().remove(0)
        };
        Overview { pools: Some(vec![pool]), ..Overview::default() }
    };
    let mut sum = Overview::default();
    add(&mut sum, &with(vec![level(0, vec![flow("a", 1), flow("b", 2)])]), Moment::Now);
    add(&mut sum, &with(vec![level(0, vec![flow("a", 4)]), level(5, Vec::new())]), Moment::Now);
    add(&mut sum, &with(vec![level(7, Vec::new())]), Moment::Past);
    let many = (0..20).map(|at| level(-1 - at, (0..20).map(|at| flow(&format!("f{at}"), 1)).collect())).collect();
    add(&mut sum, &with(many), Moment::Now);
    finish(&mut sum);
    let levels = &sum.pools.unwrap()[0].queue.clone().unwrap().levels;
    assert_eq!(levels.iter().map(|level| level.priority).collect::<Vec<_>>(), [5, 0, -1, -2, -3, -4, -5, -6]);
    assert_eq!((levels[1].requests, levels[1].bytes), (6, 20));
    assert_eq!(levels[1].flows, [flow("a", 5), flow("b", 2)]);
    assert_eq!((levels[2].flows.len(), levels[2].flows_omitted), (MAX_FLOWS, 12));
}

#[test]
fn pools_of_a_sum_are_bounded() {
    let mut sum = Vec::new();
    let pools: Vec<_> = (0..MAX_ROWS + 5).map(|at| PoolRow { name: at.to_string(), ..PoolRow::default() }).collect();
    add_pools(&mut sum, &pools, Moment::Now);
    assert_eq!(sum.len(), MAX_ROWS);
}
