//! WebSocket and other upgrades: after the 101 both connections are but bytes.

use std::sync::Arc;

use pailou_snapshot::HttpFilter;
use tokio::time::{Instant, sleep_until};

use crate::{
    bandwidth::Gate,
    error::Flag,
    relay::Clocks,
    request_log::RequestLog,
    server::OnUpgrade,
    tunnel::{End, Gates, tunnel},
    upstream::Switched,
};

/// Joins a client's and a backend's connection once both have switched protocols, until either side ends, no byte has moved for
/// the clocks' idle time, their `stream_deadline` has come, or the drain is over. `guards` are held as long as that takes.
pub(crate) async fn join<G>(client: OnUpgrade, backend: Switched, mut record: Box<RequestLog>, guards: G, clocks: Clocks) {
    let deadline = clocks.stream_deadline;
    match client.upgraded().await {
        Some(client) => {
            let stop = async {
                tokio::select! {
                    () = record.cut_off() => {}
                    () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {}
                }
            };
            let passed = tunnel(client, backend, gates(&record), clocks.idle, stop).await;
            record.request_bytes = passed.sent;
            record.response_bytes = passed.received;
            record.flag = match passed.end {
                End::Closed => None,
                End::Idle => Some(Flag::StreamIdle),
                End::Stopped if deadline.is_some_and(|at| at <= Instant::now()) => Some(Flag::Timeout),
                End::Stopped => Some(Flag::Stopped),
            };
        }
        None => {
            record.flag = Some(Flag::ClientGone);
            record.detail = Some("the connection was not switched".to_owned());
        }
    }
    record.settle();
    drop(guards);
}

/// Limits of bandwidth of the request's rule. The joined connections share its buckets with the bodies of other requests.
fn gates(record: &RequestLog) -> Gates {
    let Some(rule) = &record.rule else { return Gates::default() };
    let limit = rule.filters.http.iter().find_map(|filter| match filter {
        HttpFilter::BandwidthLimit(limit) => Some(limit),
        _ => None,
    });
    let Some(limit) = limit else { return Gates::default() };
    let buckets = record.bandwidth(&rule.route);
    Gates {
        sent: limit.request.map(|rate| Gate::new(Arc::clone(&buckets), |buckets| &buckets.request, rate)),
        received: limit.response.map(|rate| Gate::new(buckets, |buckets| &buckets.response, rate)),
    }
}
