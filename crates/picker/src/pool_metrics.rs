//! Figures of a pool as a whole, under the names of other pickers. Gateway and `pailou picker` export them alike.

use std::fmt;

use pailou_telemetry::metric_table::{counters, gauges, histograms};
use prometheus_client::encoding::DescriptorEncoder;

use crate::{
    EndpointReport,
    metric_names::MetricNames,
    objective::ObjectiveTotals,
    queue::{QueueOutcome, QueueReport, priority_label},
};

/// A pool as it is now.
#[derive(Clone, Debug)]
pub struct PoolReport {
    /// The pool's namespace.
    pub namespace: Box<str>,
    /// The pool's name.
    pub name: Box<str>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointReport>,
    /// Its queue, if its requests wait.
    pub queue: Option<QueueReport>,
    /// Fullness of its endpoints, 0 to 1; 1 where it has none.
    pub saturation: f32,
    /// Requests with objectives, by whether these were kept.
    pub objectives: ObjectiveTotals,
    /// Different blocks of prompts in the prefix index.
    pub prefix_blocks: usize,
}

/// A gauge of a pool: its name, its meaning, its value.
type PoolGauge = (&'static str, &'static str, fn(&PoolReport) -> f64);

/// Gauges of Gateway API Inference Extension up to v1.5.
const INFERENCE_POOL_GAUGES: [PoolGauge; 4] = [
    ("inference_pool_average_kv_cache_utilization", "Mean share of the KV cache in use", PoolReport::mean_kv),
    ("inference_pool_average_queue_size", "Mean number of requests in engines' queues", PoolReport::mean_waiting),
    ("inference_pool_average_running_requests", "Mean number of requests that engines run", PoolReport::mean_running),
    ("inference_pool_ready_pods", "Endpoints of the pool", PoolReport::count),
];
/// Gauges of llm-d's router.
const LLM_D_POOL_GAUGES: [PoolGauge; 7] = [
    ("llm_d_epp_average_kv_cache_utilization", "Mean share of the KV cache in use", PoolReport::mean_kv),
    ("llm_d_epp_average_queue_size", "Mean number of requests in engines' queues", PoolReport::mean_waiting),
    ("llm_d_epp_average_running_requests", "Mean number of requests that engines run", PoolReport::mean_running),
    ("llm_d_epp_std_dev_kv_cache_utilization", "Standard deviation of the share of the KV cache in use", |pool| {
        pool.deviation(|endpoint| endpoint.kv)
    }),
    ("llm_d_epp_std_dev_queue_size", "Standard deviation of the requests in engines' queues", |pool| {
        pool.deviation(|endpoint| endpoint.waiting)
    }),
    ("llm_d_epp_std_dev_running_requests", "Standard deviation of the requests that engines run", |pool| {
        pool.deviation(|endpoint| endpoint.running)
    }),
    ("llm_d_epp_ready_endpoints", "Endpoints of the pool", PoolReport::count),
];
/// Name, meaning and label of an endpoint's queue in Gateway API Inference Extension.
const INFERENCE_POOL_QUEUE: (&str, &str, &str) =
    ("inference_pool_per_pod_queue_size", "Requests in an engine's queue", "model_server_pod");
/// The same in llm-d's router.
const LLM_D_QUEUE: (&str, &str, &str) =
    ("llm_d_epp_per_endpoint_queue_size", "Requests in an engine's queue", "model_server_endpoint");

/// Writes the figures of all pools under these names. Pools of one name are one pool, in the two groups that there are.
///
/// # Errors
/// The writer's.
pub fn encode_pools(encoder: &mut DescriptorEncoder<'_>, names: MetricNames, mut pools: Vec<PoolReport>) -> fmt::Result {
    pools.sort_by(|one, other| one.key().cmp(&other.key()));
    pools.dedup_by(|one, other| one.key() == other.key());
    if names.inference_pool {
        all_gauges(encoder, &INFERENCE_POOL_GAUGES, INFERENCE_POOL_QUEUE, &pools)?;
    }
    if names.llm_d {
        all_gauges(encoder, &LLM_D_POOL_GAUGES, LLM_D_QUEUE, &pools)?;
    }
    let sets = [(names.inference_extension, "inference_extension"), (names.llm_d, "llm_d_epp")];
    for (_, set) in sets.into_iter().filter(|(is_on, _)| *is_on) {
        flow_control(encoder, set, &pools)?;
        let rows = pools.iter().map(|pool| (pool.labels("inference_pool"), pool.prefix_blocks as f64));
        gauges(encoder, &format!("{set}_prefix_indexer_size"), "Blocks of prompts in a pool's prefix index", rows)?;
    }
    Ok(())
}

fn all_gauges(
    encoder: &mut DescriptorEncoder<'_>,
    of_pool: &[PoolGauge],
    (name, help, label): (&str, &str, &str),
    pools: &[PoolReport],
) -> fmt::Result {
    for (name, help, read) in of_pool {
        gauges(encoder, name, help, pools.iter().map(|pool| (pool.labels("name"), read(pool))))?;
    }
    let rows = pools.iter().flat_map(|pool| {
        let [pool_name, namespace] = pool.labels("name");
        pool.endpoints.iter().map(move |report| {
            let address = report.endpoint.address.to_string();
            // A pod with two ports is two endpoints.
            let labels = [pool_name, namespace, (label, &*report.endpoint.name), ("address", &*address)];
            (labels.map(|(label, value)| (label, value.to_owned())), f64::from(report.waiting))
        })
    });
    gauges(encoder, name, help, rows)
}

/// Writes figures of requests that wait.
fn flow_control(encoder: &mut DescriptorEncoder<'_>, set: &str, pools: &[PoolReport]) -> fmt::Result {
    let name = |rest: &str| format!("{set}_flow_control_{rest}");
    let rows = pools.iter().map(|pool| (pool.labels("inference_pool"), f64::from(pool.saturation)));
    gauges(encoder, &name("pool_saturation"), "How full a pool's endpoints are, 0 to 1", rows)?;
    let queues: Vec<_> = pools.iter().filter_map(|pool| Some((pool.labels("inference_pool"), pool.queue.as_ref()?))).collect();
    let levels: Vec<_> = queues
        .iter()
        .flat_map(|(labels, queue)| {
            queue.levels.iter().map(move |level| (with_priority(labels, level.priority.to_string()), level))
        })
        .collect();
    let rows = levels.iter().map(|(labels, level)| (labels.clone(), f64::from(level.requests)));
    gauges(encoder, &name("queue_size"), "Requests that wait for an endpoint with room", rows)?;
    let rows = levels.iter().map(|(labels, level)| (labels.clone(), level.bytes as f64));
    gauges(encoder, &name("queue_bytes"), "Bytes of the bodies of requests that wait", rows)?;
    let counts: Vec<_> = queues
        .iter()
        .flat_map(|(labels, queue)| {
            queue.counts.iter().map(move |(it, counts)| (with_priority(labels, priority_label(*it)), counts))
        })
        .collect();
    let rows = counts.iter().flat_map(|(labels, counts)| {
        QueueOutcome::ALL.iter().zip(counts.outcomes).map(|(outcome, count)| {
            let [pool, namespace, priority] = labels.clone();
            ([pool, namespace, priority, ("outcome", outcome.name().to_owned())], count)
        })
    });
    let help = "Requests that waited, or were refused instead, by what became of them";
    counters(encoder, &name("requests"), help, rows)?;
    let rows = counts.iter().map(|(labels, counts)| (labels.clone(), counts.distribution()));
    let help = "Seconds that requests waited before they were sent to an endpoint";
    histograms(encoder, &name("request_queue_duration_seconds"), help, rows)
}

/// Labels of a priority of a pool.
fn with_priority([pool, namespace]: &[(&'static str, &str); 2], priority: String) -> [(&'static str, String); 3] {
    let [pool, namespace] = [pool, namespace].map(|(label, value)| (*label, (*value).to_owned()));
    [pool, namespace, ("priority", priority)]
}

impl PoolReport {
    fn key(&self) -> (&str, &str) {
        (&self.namespace, &self.name)
    }

    fn labels(&self, name: &'static str) -> [(&'static str, &str); 2] {
        [(name, &self.name), ("namespace", &self.namespace)]
    }

    fn count(&self) -> f64 {
        self.endpoints.len() as f64
    }

    fn mean_kv(&self) -> f64 {
        self.mean(|endpoint| endpoint.kv)
    }

    fn mean_waiting(&self) -> f64 {
        self.mean(|endpoint| endpoint.waiting)
    }

    fn mean_running(&self) -> f64 {
        self.mean(|endpoint| endpoint.running)
    }

    /// 0 where the pool has no endpoint.
    fn mean(&self, read: fn(&EndpointReport) -> f32) -> f64 {
        let sum: f64 = self.endpoints.iter().map(|endpoint| f64::from(read(endpoint))).sum();
        sum / self.count().max(1.0)
    }

    fn deviation(&self, read: fn(&EndpointReport) -> f32) -> f64 {
        let mean = self.mean(read);
        let squares: f64 = self.endpoints.iter().map(|endpoint| (f64::from(read(endpoint)) - mean).powi(2)).sum();
        (squares / self.count().max(1.0)).sqrt()
    }
}
