//! Samples of gateways and pickers.

use pailou_epp::EndpointPicker;
use pailou_proxy::{Proxy, error::Cause, metrics::ModelFigures, overview::Overview as Figures};
use pailou_telemetry::metric_table::Distribution;

use super::{
    Histogram, Latencies, MAX_MODELS, ModelRow, Overview, ReceiptCounts, RequestCounts, Sum, TokenCounts, by_name,
    pools::{self, PoolEntry},
};

/// A gateway's sample, without what its process adds.
pub(crate) fn of_gateway(proxy: &Proxy) -> Overview {
    let figures = proxy.overview(MAX_MODELS);
    let totals = &figures.requests;
    let requests = counts(&figures);
    let (pools, queue, pools_omitted) = pools::rows(figures.pools.into_iter().map(PoolEntry::of_gateway).collect());
    Overview {
        kind: "gateway".to_owned(),
        requests: Some(requests),
        latency: Some(Latencies {
            duration: histogram(Some(&totals.duration)),
            ttft: histogram(Some(&totals.first_content)),
            time_per_output_token: histogram(figures.models.per_output_token.as_ref()),
            overhead: histogram(Some(&figures.overhead)),
        }),
        tokens: Some(TokenCounts {
            input: totals.input_tokens,
            output: totals.output_tokens,
            cached: figures.models.cached_tokens,
            reasoning: figures.models.reasoning_tokens,
        }),
        cost_usd: Some(totals.nano_usd as f64 / 1e9),
        queue: Some(queue),
        models: Some(figures.models.busiest.into_iter().map(model).collect()),
        models_omitted: figures.models.omitted,
        pools: Some(pools),
        pools_omitted,
        receipts: Some(ReceiptCounts { kept: figures.receipts.0, dropped: figures.receipts.1 }),
        ..Overview::default()
    }
}

/// A picker's sample. Of requests it knows only whether they got an endpoint.
pub(crate) fn of_picker(picker: &EndpointPicker) -> Overview {
    let picks = by_name(picker.outcomes());
    let pools = picker.report().map(PoolEntry::of_picker).into_iter().collect();
    let (pools, queue, pools_omitted) = pools::rows(pools);
    Overview {
        kind: "picker".to_owned(),
        requests: Some(RequestCounts { active: picker.conversations(), total: picks.values().sum(), ..RequestCounts::default() }),
        queue: Some(queue),
        pools: Some(pools),
        pools_omitted,
        picks,
        unknown: Some("statuses, latencies and tokens of responses: the gateway that asks this picker has them".to_owned()),
        ..Overview::default()
    }
}

fn counts(figures: &Figures) -> RequestCounts {
    let Figures { active, unrouted, flags, faults, .. } = figures;
    let by_class = figures.requests.by_class;
    RequestCounts {
        active: *active,
        total: by_class.iter().map(|(_, count)| count).sum::<u64>() + unrouted,
        by_status: by_name(by_class),
        by_fault: by_name(faults.map(|(cause, count)| (fault(cause), count))),
        flags: by_name(flags.iter().map(|(flag, count)| (flag.code(), *count))),
        unrouted: *unrouted,
    }
}

/// Name of a cause in JSON.
pub(crate) fn fault(cause: Cause) -> &'static str {
    match cause {
        Cause::Client => "client",
        Cause::Gateway => "gateway",
        Cause::Backend => "backend",
        Cause::EndpointPicker => "endpointPicker",
        Cause::ExternalProcessor => "externalProcessor",
    }
}

fn histogram(distribution: Option<&Distribution>) -> Histogram {
    let Some(Distribution { sum, count, buckets }) = distribution else { return Histogram::default() };
    let mut below = 0;
    let counts = buckets.iter().map(|(_, count)| {
        below += count;
        below
    });
    let counts = counts.collect();
    Histogram {
        bounds: buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect(),
        counts,
        sum: *sum,
        count: *count,
    }
}

fn model(figures: ModelFigures) -> ModelRow {
    ModelRow {
        model: figures.asked.into(),
        sent: figures.sent.into(),
        requests: figures.requests,
        errors: figures.errors,
        client_errors: figures.client_errors,
        input_tokens: figures.input_tokens,
        output_tokens: figures.output_tokens,
        ttft: Sum { sum: figures.ttft_seconds, count: figures.ttft_count },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let distribution = Distribution { sum: 3.0, count: 4, buckets: vec![(0.5, 1), (1.0, 2), (f64::INFINITY, 1)] };
        let histogram = histogram(Some(&distribution));
        assert_eq!((histogram.bounds, histogram.counts), (vec![0.5, 1.0], vec![1, 3, 4]));
    }
}
