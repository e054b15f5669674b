//! Receipts of all proxies as events: a controller's `/receipts/stream`.

use std::sync::Arc;

use hyper::body::Bytes;
use pailou_proxy::receipts::ReceiptFilter;
use tokio::sync::{mpsc, watch};

use super::receipt_events::{self, MAX_BATCH, ReceiptSource, seen_before};
use crate::gather::{
    Gatherer, Selection,
    tail::{TailReceipt, Viewer},
};

/// Events of the selected proxies' receipts from now on, or after the one that `Last-Event-ID` names.
pub(super) fn stream(
    gatherer: &Arc<Gatherer>,
    viewer: Viewer,
    selection: Selection,
    filter: ReceiptFilter,
    last_event: Option<u64>,
) -> mpsc::Receiver<Bytes> {
    let seen = seen_before(last_event, gatherer.tail.last());
    let (send, receive) = mpsc::channel(1);
    let newest = gatherer.tail.newest();
    let source = TailReceipts { gatherer: gatherer.clone(), _viewer: viewer, newest, selection, filter };
    tokio::spawn(receipt_events::follow(source, seen, send));
    receive
}

/// The receipts of all proxies, of which the viewer wants some.
struct TailReceipts {
    gatherer: Arc<Gatherer>,
    _viewer: Viewer,
    newest: watch::Receiver<u64>,
    selection: Selection,
    filter: ReceiptFilter,
}

impl ReceiptSource for TailReceipts {
    async fn wait_after(&mut self, seen: u64) -> bool {
        self.newest.wait_for(|newest| *newest > seen).await.is_ok()
    }

    fn news(&self, seen: &mut u64) -> String {
        let news = self.gatherer.tail.after(*seen, MAX_BATCH);
        let unread = news.receipts.iter().filter(|receipt| receipt.is_of(&self.selection)).map(|receipt| receipt.lost);
        let lost = news.lost + unread.sum::<u64>();
        let is_wanted = |receipt: &TailReceipt| receipt.meets(&self.selection, &self.filter);
        let wanted = news.receipts.iter().map(|it| (it.sequence, is_wanted(it).then_some(&it.json)));
        receipt_events::text(lost, wanted, seen)
    }
}
