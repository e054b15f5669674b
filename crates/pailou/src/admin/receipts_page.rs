//! Routing receipts as the admin endpoint shows them: `/receipts`, `/receipts/{id}` and `/receipts/stream`.

use std::sync::Arc;

use hyper::{StatusCode, body::Bytes, http::request::Parts};
use pailou_proxy::{
    Proxy,
    receipts::{MAX_VIEWERS, NewestReceipts, ReceiptFilter, Viewer},
};
use tokio::sync::mpsc;

use super::{
    query,
    receipt_events::{self, MAX_BATCH, ReceiptSource, seen_before},
};

/// Receipts of an answer that does not say how many.
const DEFAULT_LIMIT: usize = 50;
/// Most receipts of an answer.
pub(super) const MAX_LIMIT: usize = 1000;

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
    let own = OwnReceipts { proxy: Arc::clone(proxy), viewer, filter: query.filter };
    tokio::spawn(receipt_events::follow(own, seen, send));
    Ok(receive)
}

/// The receipts of this process, of which the viewer wants some.
struct OwnReceipts {
    proxy: Arc<Proxy>,
    viewer: Viewer,
    filter: ReceiptFilter,
}

impl ReceiptSource for OwnReceipts {
    async fn wait_after(&mut self, seen: u64) -> bool {
        self.viewer.news_after(seen).await;
        true
    }

    fn news(&self, seen: &mut u64) -> String {
        let news = self.proxy.receipts().after(*seen, MAX_BATCH);
        let wanted = news.receipts.iter().map(|it| (it.sequence, self.filter.holds(it).then(|| it.to_json())));
        receipt_events::text(news.lost, wanted, seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
