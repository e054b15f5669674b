//! Pools of a sample.

use pailou_picker::{EndpointReport, PoolReport, QueueFlow, QueueLevel, QueueOutcome, QueueReport};
use pailou_proxy::{endpoint_health::EndpointHealth, overview::PoolOverview};

use super::{EndpointRow, MAX_ENDPOINTS, MAX_POOLS, PoolRow, WaitingFlow, WaitingLevel, WaitingRequests, by_name, short};

/// Most priorities of a pool's queue in a sample.
pub(crate) const MAX_LEVELS: usize = 8;
/// Most flows of a priority in a sum of samples.
pub(crate) const MAX_FLOWS: usize = 8;

/// A pool of whatever process.
pub(super) struct PoolEntry {
    backend: String,
    report: PoolReport,
    endpoints: Vec<EndpointRow>,
}

impl PoolEntry {
    pub(super) fn of_gateway(pool: PoolOverview) -> Self {
        let endpoints = pool.endpoints.iter().map(|(report, health)| row(report, health)).collect();
        Self { backend: pool.backend, report: pool.report, endpoints }
    }

    pub(super) fn of_picker(report: PoolReport) -> Self {
        let endpoints = report.endpoints.iter().map(|report| row(report, &EndpointHealth::default())).collect();
        Self { backend: String::new(), report, endpoints }
    }
}

/// Rows of the pools with all requests that wait, and how many pools are left out.
pub(super) fn rows(pools: Vec<PoolEntry>) -> (Vec<PoolRow>, WaitingRequests, usize) {
    let mut all = WaitingRequests::default();
    for queue in pools.iter().filter_map(|pool| pool.report.queue.as_ref()) {
        let queue = waiting(queue);
        all.waiting += queue.waiting;
        all.oldest_wait_seconds = all.oldest_wait_seconds.max(queue.oldest_wait_seconds);
    }
    let omitted = pools.len().saturating_sub(MAX_POOLS);
    // A pool with many endpoints leaves as many to each other one as there are to each.
    let share = MAX_ENDPOINTS / pools.len().clamp(1, MAX_POOLS);
    let rows = pools.into_iter().take(MAX_POOLS).map(|pool| pool_row(pool, share)).collect();
    (rows, all, omitted)
}

fn pool_row(pool: PoolEntry, most: usize) -> PoolRow {
    let PoolEntry { backend, report, mut endpoints } = pool;
    let sum = |read: fn(&EndpointRow) -> u64| endpoints.iter().map(read).sum();
    let (predicted_tokens, cached_tokens) = (sum(|row| row.predicted_tokens), sum(|row| row.cached_tokens));
    let endpoints_omitted = endpoints.len().saturating_sub(most);
    if endpoints_omitted > 0 {
        // Those with trouble are looked for.
        endpoints.sort_by(|one, other| (one.state == "ready", &one.name).cmp(&(other.state == "ready", &other.name)));
        endpoints.truncate(most);
    }
    endpoints.sort_by(|one, other| (&one.name, &one.address).cmp(&(&other.name, &other.address)));
    PoolRow {
        name: format!("{}/{}", report.namespace, report.name),
        backend,
        saturation: report.saturation,
        endpoints,
        endpoints_omitted,
        queue: report.queue.as_ref().map(waiting),
        predicted_tokens,
        cached_tokens,
    }
}

fn waiting(queue: &QueueReport) -> WaitingRequests {
    let outcome = |(at, outcome): (usize, &QueueOutcome)| {
        let count = queue.counts.iter().map(|(_, counts)| counts.outcomes.get(at).copied().unwrap_or(0)).sum();
        (outcome.name(), count)
    };
    WaitingRequests {
        waiting: queue.levels.iter().map(|level| u64::from(level.requests)).sum(),
        oldest_wait_seconds: queue.levels.iter().map(|level| level.oldest_wait.as_secs_f64()).fold(0.0, f64::max),
        outcomes: by_name(QueueOutcome::ALL.iter().enumerate().map(outcome)),
        levels: queue.levels.iter().take(MAX_LEVELS).map(|level| waiting_level(level, queue)).collect(),
    }
}

fn waiting_level(level: &QueueLevel, queue: &QueueReport) -> WaitingLevel {
    let flow = |flow: &QueueFlow| WaitingFlow {
        name: flow.name.clone().map(short),
        requests: flow.requests,
        oldest_wait_seconds: flow.oldest_wait.as_secs_f64(),
    };
    let flows: Vec<_> = queue.flows.iter().filter(|flow| flow.priority == level.priority).map(flow).collect();
    WaitingLevel {
        priority: level.priority,
        requests: level.requests,
        bytes: level.bytes,
        oldest_wait_seconds: level.oldest_wait.as_secs_f64(),
        flows_omitted: level.flows.saturating_sub(flows.len()),
        flows,
    }
}

fn row(report: &EndpointReport, health: &EndpointHealth) -> EndpointRow {
    let (state, problem) = state(report, health);
    EndpointRow {
        name: report.endpoint.name.to_string(),
        address: report.endpoint.address.to_string(),
        role: report.endpoint.role.name().to_owned(),
        state: state.to_owned(),
        problem: problem.map(short),
        waiting: report.waiting,
        running: report.running,
        kv: report.kv,
        in_flight: report.in_flight,
        requests: report.requests,
        predicted_tokens: report.predicted_tokens,
        cached_tokens: report.cached_tokens,
    }
}

/// The worst that is known of an endpoint, and more about it.
fn state(report: &EndpointReport, health: &EndpointHealth) -> (&'static str, Option<String>) {
    let metrics = || report.metrics_problem.as_ref().map(|problem| format!("metrics: {problem}"));
    if let Some(left) = health.ejected_for {
        return ("ejected", Some(format!("passive health checks keep requests from it for {} s more", left.as_secs().max(1))));
    }
    if health.passes_checks == Some(false) {
        return ("unhealthy", Some("active health checks fail".to_owned()));
    }
    if report.failing {
        return ("failing", metrics().or_else(|| Some("it failed just now, and comes last".to_owned())));
    }
    match report.fresh {
        true => ("ready", metrics()),
        false => ("stale", metrics()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(name: usize, state: &str) -> EndpointRow {
        EndpointRow { name: format!("engine-{name:04}"), state: state.to_owned(), ..EndpointRow::default() }
    }

    fn pool(endpoints: Vec<EndpointRow>) -> PoolEntry {
        let report = PoolReport {
            namespace: "default".into(),
            name: "qwen".into(),
            endpoints: Vec::new(),
            queue: None,
            saturation: 0.5,
            objectives: Default::default(),
            prefix_blocks: 0,
        };
        PoolEntry { backend: "pool/default/qwen".to_owned(), report, endpoints }
    }

    #[test]
    fn a_large_pool_shows_those_with_trouble() {
        let mut endpoints: Vec<_> = (0..2000).map(|name| endpoint(name, "ready")).collect();
        endpoints[1999].state = "ejected".to_owned();
        let (rows, _, _) = rows(vec![pool(endpoints)]);
        assert_eq!((rows[0].endpoints.len(), rows[0].endpoints_omitted), (MAX_ENDPOINTS, 1500));
        assert_eq!(rows[0].endpoints.last().unwrap().state, "ejected");
        assert_eq!(rows[0].endpoints[0].name, "engine-0000");
    }

    #[test]
    fn a_problem_is_short_whatever_an_engine_answers() {
        let problem = short("ü".repeat(1 << 20));
        assert_eq!((problem.chars().count(), short("short".to_owned())), (201, "short".to_owned()));
    }

    #[test]
    fn pools_share_the_room_for_endpoints() {
        let pools = (0..MAX_POOLS + 7).map(|_| pool((0..100).map(|name| endpoint(name, "ready")).collect())).collect();
        let (rows, _, omitted) = rows(pools);
        assert_eq!((rows.len(), omitted), (MAX_POOLS, 7));
        assert!(rows.iter().map(|row| row.endpoints.len()).sum::<usize>() <= MAX_ENDPOINTS);
    }
}
