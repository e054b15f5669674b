//! Sums of proxies' samples.

use std::collections::{BTreeMap, HashMap};

use crate::overview::{
    EndpointRow, Histogram, Latencies, MAX_ENDPOINTS, MAX_MODELS, MAX_POOLS, ModelRow, Overview, PoolRow, ReceiptCounts,
    RequestCounts, TokenCounts, WaitingLevel, WaitingRequests,
    pools::{MAX_FLOWS, MAX_LEVELS},
};

/// Most rows of a list before its end is known.
const MAX_ROWS: usize = 4096;

/// Whether what a sample says of the moment holds: that of a proxy that is away does not, but its counts do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Now,
    Past,
}

/// Adds a sample to a sum.
pub(super) fn add(sum: &mut Overview, sample: &Overview, moment: Moment) {
    if let Some(requests) = &sample.requests {
        add_requests(sum.requests.get_or_insert_default(), requests, moment);
    }
    if let Some(latency) = &sample.latency {
        let Latencies { duration, ttft, time_per_output_token, overhead } = sum.latency.get_or_insert_default();
        add_histogram(duration, &latency.duration);
        add_histogram(ttft, &latency.ttft);
        add_histogram(time_per_output_token, &latency.time_per_output_token);
        add_histogram(overhead, &latency.overhead);
    }
    if let Some(tokens) = &sample.tokens {
        let TokenCounts { input, output, cached, reasoning } = sum.tokens.get_or_insert_default();
        *input += tokens.input;
        *output += tokens.output;
        *cached += tokens.cached;
        *reasoning += tokens.reasoning;
    }
    if let Some(cost) = sample.cost_usd {
        *sum.cost_usd.get_or_insert_default() += cost;
    }
    if let Some(queue) = &sample.queue {
        add_queue(sum.queue.get_or_insert_default(), queue, moment);
    }
    if let Some(models) = &sample.models {
        add_models(sum.models.get_or_insert_default(), models);
        sum.models_omitted = sum.models_omitted.max(sample.models_omitted);
    }
    if let Some(pools) = &sample.pools {
        add_pools(sum.pools.get_or_insert_default(), pools, moment);
        sum.pools_omitted = sum.pools_omitted.max(sample.pools_omitted);
    }
    if let Some(receipts) = &sample.receipts {
        let ReceiptCounts { kept, dropped } = sum.receipts.get_or_insert_default();
        *kept += receipts.kept;
        *dropped += receipts.dropped;
    }
}

/// Brings a sum's lists to the bounds of a sample, and leaves out pools and endpoints that no proxy has now.
pub(super) fn finish(sum: &mut Overview) {
    if let Some(models) = &mut sum.models {
        models.sort_by(|one, other| other.requests.cmp(&one.requests).then_with(|| one.model.cmp(&other.model)));
        sum.models_omitted += models.len().saturating_sub(MAX_MODELS);
        models.truncate(MAX_MODELS);
    }
    let Some(pools) = &mut sum.pools else { return };
    pools.retain(|pool| !pool.backend.is_empty());
    pools.sort_by(|one, other| one.name.cmp(&other.name));
    sum.pools_omitted += pools.len().saturating_sub(MAX_POOLS);
    pools.truncate(MAX_POOLS);
    let share = MAX_ENDPOINTS / pools.len().max(1);
    for pool in pools {
        if let Some(queue) = &mut pool.queue {
            finish_levels(&mut queue.levels);
        }
        pool.endpoints.retain(|endpoint| !endpoint.state.is_empty());
        if pool.endpoints.len() > share {
            // Those with trouble are looked for.
            pool.endpoints.sort_by_key(|endpoint| std::cmp::Reverse(severity(&endpoint.state)));
            pool.endpoints_omitted += pool.endpoints.len() - share;
            pool.endpoints.truncate(share);
        }
        pool.endpoints.sort_by(|one, other| (&one.name, &one.address).cmp(&(&other.name, &other.address)));
    }
}

fn add_requests(sum: &mut RequestCounts, requests: &RequestCounts, moment: Moment) {
    if moment == Moment::Now {
        sum.active += requests.active;
    }
    sum.total += requests.total;
    sum.unrouted += requests.unrouted;
    add_counts(&mut sum.by_status, &requests.by_status);
    add_counts(&mut sum.by_fault, &requests.by_fault);
    add_counts(&mut sum.flags, &requests.flags);
}

fn add_counts(sum: &mut BTreeMap<String, u64>, counts: &BTreeMap<String, u64>) {
    for (name, count) in counts {
        if let Some(known) = sum.get_mut(name) {
            *known += count;
        } else if sum.len() < MAX_ROWS {
            sum.insert(name.clone(), *count);
        }
    }
}

/// Proxies of one version have the same buckets. Of others' only the sums could be added, which would belie the quantiles.
fn add_histogram(sum: &mut Histogram, histogram: &Histogram) {
    if sum.counts.is_empty() {
        *sum = histogram.clone();
    } else if sum.bounds == histogram.bounds && sum.counts.len() == histogram.counts.len() {
        for (known, count) in sum.counts.iter_mut().zip(&histogram.counts) {
            *known += count;
        }
        sum.sum += histogram.sum;
        sum.count += histogram.count;
    }
}

fn add_queue(sum: &mut WaitingRequests, queue: &WaitingRequests, moment: Moment) {
    if moment == Moment::Now {
        sum.waiting += queue.waiting;
        sum.oldest_wait_seconds = sum.oldest_wait_seconds.max(queue.oldest_wait_seconds);
        add_levels(&mut sum.levels, &queue.levels);
    }
    add_counts(&mut sum.outcomes, &queue.outcomes);
}

/// Each proxy queues for itself: those of one priority and of one fairness id are added.
fn add_levels(sum: &mut Vec<WaitingLevel>, levels: &[WaitingLevel]) {
    for level in levels {
        let at = match sum.iter().position(|known| known.priority == level.priority) {
            Some(at) => at,
            None if sum.len() >= MAX_ROWS => continue,
            None => {
                sum.push(WaitingLevel { priority: level.priority, ..WaitingLevel::default() });
                sum.len() - 1
            }
        };
        let known = &mut sum[at];
        known.requests = known.requests.saturating_add(level.requests);
        known.bytes += level.bytes;
        known.oldest_wait_seconds = known.oldest_wait_seconds.max(level.oldest_wait_seconds);
        known.flows_omitted = known.flows_omitted.max(level.flows_omitted);
        for flow in &level.flows {
            match known.flows.iter().position(|known| known.name == flow.name) {
                Some(at) => {
                    let known = &mut known.flows[at];
                    known.requests += flow.requests;
                    known.oldest_wait_seconds = known.oldest_wait_seconds.max(flow.oldest_wait_seconds);
                }
                None if known.flows.len() < MAX_ROWS => known.flows.push(flow.clone()),
                None => known.flows_omitted += 1,
            }
        }
    }
}

/// Brings levels to the bounds of a sample: the highest priorities, and the deepest flows of each.
fn finish_levels(levels: &mut Vec<WaitingLevel>) {
    levels.sort_by_key(|level| std::cmp::Reverse(level.priority));
    levels.truncate(MAX_LEVELS);
    for level in levels {
        level.flows.sort_by(|one, other| other.requests.cmp(&one.requests).then_with(|| one.name.cmp(&other.name)));
        level.flows_omitted += level.flows.len().saturating_sub(MAX_FLOWS);
        level.flows.truncate(MAX_FLOWS);
    }
}

fn add_models(sum: &mut Vec<ModelRow>, models: &[ModelRow]) {
    let known: HashMap<(String, String), usize> =
        sum.iter().enumerate().map(|(at, row)| ((row.model.clone(), row.sent.clone()), at)).collect();
    for row in models {
        let Some(at) = known.get(&(row.model.clone(), row.sent.clone())) else {
            if sum.len() < MAX_ROWS {
                sum.push(row.clone());
            }
            continue;
        };
        let known = &mut sum[*at];
        known.requests += row.requests;
        known.errors += row.errors;
        known.client_errors += row.client_errors;
        known.input_tokens += row.input_tokens;
        known.output_tokens += row.output_tokens;
        known.ttft.sum += row.ttft.sum;
        known.ttft.count += row.ttft.count;
    }
}

fn add_pools(sum: &mut Vec<PoolRow>, pools: &[PoolRow], moment: Moment) {
    for pool in pools {
        let at = sum.iter().position(|known| known.name == pool.name);
        let at = match at {
            Some(at) => at,
            None if sum.len() >= MAX_ROWS => continue,
            None => {
                sum.push(PoolRow { name: pool.name.clone(), ..PoolRow::default() });
                sum.len() - 1
            }
        };
        let known = &mut sum[at];
        if moment == Moment::Now {
            known.backend.clone_from(&pool.backend);
            known.saturation = known.saturation.max(pool.saturation);
            known.endpoints_omitted = known.endpoints_omitted.max(pool.endpoints_omitted);
        }
        if let Some(queue) = &pool.queue {
            add_queue(known.queue.get_or_insert_default(), queue, moment);
        }
        known.predicted_tokens += pool.predicted_tokens;
        known.cached_tokens += pool.cached_tokens;
        add_endpoints(&mut known.endpoints, &pool.endpoints, moment);
    }
}

fn add_endpoints(sum: &mut Vec<EndpointRow>, endpoints: &[EndpointRow], moment: Moment) {
    let key = |row: &EndpointRow| (row.name.clone(), row.address.clone());
    let known: HashMap<_, usize> = sum.iter().enumerate().map(|(at, row)| (key(row), at)).collect();
    for row in endpoints {
        let at = match known.get(&key(row)) {
            Some(at) => *at,
            None if sum.len() >= MAX_ROWS => continue,
            None => {
                let (name, address) = key(row);
                sum.push(EndpointRow { name, address, role: row.role.clone(), ..EndpointRow::default() });
                sum.len() - 1
            }
        };
        let known = &mut sum[at];
        known.requests += row.requests;
        known.predicted_tokens += row.predicted_tokens;
        known.cached_tokens += row.cached_tokens;
        if moment == Moment::Past {
            continue;
        }
        // The engine's own figures: each proxy reads them, some a moment earlier.
        known.waiting = known.waiting.max(row.waiting);
        known.running = known.running.max(row.running);
        known.kv = known.kv.max(row.kv);
        known.in_flight += row.in_flight;
        if severity(&row.state) > severity(&known.state) {
            known.state.clone_from(&row.state);
            known.problem.clone_from(&row.problem);
        }
    }
}

fn severity(state: &str) -> u8 {
    match state {
        "" => 0,
        "ready" => 1,
        "stale" => 2,
        "failing" => 3,
        "unhealthy" => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests;
