//! Routing receipts as the admin endpoint shows them: `/receipts`, `/receipts/{id}` and `/receipts/stream`.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use hyper::{StatusCode, body::Bytes, http::request::Parts};
use pailou_proxy::{
    Proxy,
    receipts::{MAX_VIEWERS, NewestReceipts, ReceiptFilter, Viewer},
};
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};

use super::{STREAM_LIMIT, query};

/// Receipts of an answer that does not say how many.
const DEFAULT_LIMIT: usize = 50;
/// Most receipts of an answer.
pub(super) const MAX_LIMIT: usize = 1000;
/// Most receipts that a viewer gets at once.
pub(super) const MAX_BATCH: usize = 256;
/// Least time between two batches for a viewer.
const BATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Interval of comments that keep a stream without news alive.
pub(super) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Receipts that a request wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReceiptQuery {
    pub(crate) filter: ReceiptFilter,
    pub(crate) limit: usize,
    /// Only receipts after this number.
    pub(crate) after: u64,
}

impl ReceiptQuery {
    /// Reads a query: `limit`, `status` (a status, or `5xx`), `flag`, `route`, `model`, `after`. What it does not know has no effect.
    ///
    /// # Errors
    /// A status, a limit or a number is none.
    pub(crate) fn of_query(query: &str) -> Result<Self, &'static str> {
        let value = |name| query::value(query, name).filter(|value| !value.is_empty());
        let limit = match value("limit") {
            Some(limit) => limit.parse::<usize>().map_err(|_| "limit is no number\n")?.clamp(1, MAX_LIMIT),
            None => DEFAULT_LIMIT,
        };
        let after = value("after").map_or(Ok(0), |after| after.parse()).map_err(|_| "after is no number\n")?;
        let status = value("status").map(|text| statuses(&text).ok_or("status is none, such as 503 or 5xx\n")).transpose()?;
        Ok(Self {
            filter: ReceiptFilter { status, flag: value("flag"), route: value("route"), model: value("model") },
            limit,
            after,
        })
    }
}

fn statuses(text: &str) -> Option<(u16, u16)> {
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=9).contains(class))?;
        return Some((class * 100, class * 100 + 99));
    }
    text.parse().ok().map(|status| (status, status))
}

/// The newest receipts, as one document with the number that they end at: a stream after it misses none.
pub(crate) fn list(newest: &NewestReceipts, after: u64) -> String {
    // A number that was never given is of a former process.
    let after = if after > newest.last { 0 } else { after };
    let mut text = format!("{{\"schema\":\"pailou.receipts/v1\",\"last\":{},\"receipts\":[", newest.last);
    for (at, receipt) in newest.receipts.iter().take_while(|receipt| receipt.sequence > after).enumerate() {
        text.push_str(if at == 0 { "\n" } else { ",\n" });
        text.push_str(&receipt.to_json());
    }
    text.push_str("\n]}\n");
    text
}

/// Events of receipts from now on, or after the one that `Last-Event-ID` names.
///
/// # Errors
/// There are viewers enough.
pub(crate) fn stream(
    proxy: &Arc<Proxy>,
    query: ReceiptQuery,
    head: &Parts,
) -> Result<mpsc::Receiver<Bytes>, (StatusCode, &'static str)> {
    let receipts = proxy.receipts();
    let viewer = receipts.view().ok_or((StatusCode::SERVICE_UNAVAILABLE, "16 viewers follow the receipts already\n"))?;
    const { assert!(MAX_VIEWERS == 16) };
    let last = head.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let seen = seen_before(last, receipts.last());
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(follow(Arc::clone(proxy), viewer, query.filter, seen, send));
    Ok(receive)
}

/// Number of the last receipt that a viewer has seen: those from now on are news for one who names none. A number that was never given is
/// of a former process, none of whose receipts are here.
pub(super) fn seen_before(last_event: Option<u64>, newest: u64) -> u64 {
    last_event.map_or(newest, |last| if last > newest { 0 } else { last })
}

/// Sends news until the viewer has gone, or its time is over.
async fn follow(proxy: Arc<Proxy>, viewer: Viewer, filter: ReceiptFilter, seen: u64, send: mpsc::Sender<Bytes>) {
    let _ = time::timeout(STREAM_LIMIT, send_news(proxy, viewer, filter, seen, send)).await;
}

/// Sends news until the viewer has gone. A slow one is waited for, and loses what the ring has let go of meanwhile.
async fn send_news(proxy: Arc<Proxy>, mut viewer: Viewer, filter: ReceiptFilter, mut seen: u64, send: mpsc::Sender<Bytes>) {
    // The number: one that comes back before the first news misses none.
    if send.send(format!("retry: 2000\nid: {seen}\n\n").into()).await.is_err() {
        return;
    }
    let mut quiet_until = Instant::now() + KEEP_ALIVE_INTERVAL;
    loop {
        let text = tokio::select! {
            () = viewer.news_after(seen) => news(&proxy, &filter, &mut seen),
            () = time::sleep_until(quiet_until) => ": nothing new\n\n".to_owned(),
            () = send.closed() => return,
        };
        if !text.is_empty() {
            quiet_until = Instant::now() + KEEP_ALIVE_INTERVAL;
            if send.send(text.into()).await.is_err() {
                return;
            }
        }
        time::sleep(BATCH_INTERVAL).await;
    }
}

/// Events of the receipts after that number, which moves on.
fn news(proxy: &Proxy, filter: &ReceiptFilter, seen: &mut u64) -> String {
    let news = proxy.receipts().after(*seen, MAX_BATCH);
    let mut text = String::new();
    if news.lost > 0 {
        let _ = write!(text, "event: lost\ndata: {{\"lost\":{}}}\n\n", news.lost);
    }
    let mut named = None;
    for receipt in &news.receipts {
        *seen = receipt.sequence;
        if filter.holds(receipt) {
            named = Some(receipt.sequence);
            let _ = write!(text, "id: {}\nevent: receipt\ndata: {}\n\n", receipt.sequence, receipt.to_json());
        }
    }
    // A viewer that comes back is not to be told that it has lost what it did not want.
    if !news.receipts.is_empty() && named != Some(*seen) {
        let _ = write!(text, "id: {seen}\n\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_of_a_former_process_gets_all_that_there_is() {
        assert_eq!((seen_before(None, 12), seen_before(Some(5), 12), seen_before(Some(12), 12)), (12, 5, 12));
        assert_eq!(seen_before(Some(5000), 12), 0);
    }

    #[test]
    fn a_query_names_status_flag_route_and_model() {
        let query = ReceiptQuery::of_query("status=5xx&flag=UF&route=web&model=a%2Fb&limit=9999").unwrap();
        assert_eq!((query.filter.status, query.limit), (Some((500, 599)), MAX_LIMIT));
        assert_eq!(query.filter.model.as_deref(), Some("a/b"));
        assert_eq!(ReceiptQuery::of_query("").unwrap().limit, DEFAULT_LIMIT);
        assert_eq!(ReceiptQuery::of_query("status=404").unwrap().filter.status, Some((404, 404)));
        assert!(ReceiptQuery::of_query("status=bad").is_err() && ReceiptQuery::of_query("limit=x").is_err());
    }
}
