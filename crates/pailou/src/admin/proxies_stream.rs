//! Receipts of all proxies as events: a controller's `/receipts/stream`.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use hyper::body::Bytes;
use pailou_proxy::receipts::ReceiptFilter;
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};

use super::{
    STREAM_LIMIT,
    receipts_page::{KEEP_ALIVE_INTERVAL, MAX_BATCH, seen_before},
};
use crate::gather::{
    Gatherer, Selection,
    tail::{Tail, Viewer},
};

/// Least time between two batches for a viewer.
const BATCH_INTERVAL: Duration = Duration::from_millis(250);

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
    let gatherer = gatherer.clone();
    tokio::spawn(async move {
        let _viewer = viewer;
        let sending = send_news(&gatherer.tail, &selection, &filter, seen, send);
        // A viewer that is to come back is told so by the end.
        let _ = time::timeout(STREAM_LIMIT, sending).await;
    });
    receive
}

async fn send_news(tail: &Tail, selection: &Selection, filter: &ReceiptFilter, mut seen: u64, send: mpsc::Sender<Bytes>) {
    // The number: one that comes back before the first news misses none.
    if send.send(format!("retry: 2000\nid: {seen}\n\n").into()).await.is_err() {
        return;
    }
    let mut newest = tail.newest();
    let mut quiet_until = Instant::now() + KEEP_ALIVE_INTERVAL;
    loop {
        let text = tokio::select! {
            changed = newest.wait_for(|newest| *newest > seen) => match changed {
                Ok(_) => news(tail, selection, filter, &mut seen),
                Err(_) => return,
            },
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
fn news(tail: &Tail, selection: &Selection, filter: &ReceiptFilter, seen: &mut u64) -> String {
    let news = tail.after(*seen, MAX_BATCH);
    let mut text = String::new();
    let unread = news.receipts.iter().filter(|receipt| receipt.is_of(selection)).map(|receipt| receipt.lost);
    let lost = news.lost + unread.sum::<u64>();
    if lost > 0 {
        let _ = write!(text, "event: lost\ndata: {{\"lost\":{lost}}}\n\n");
    }
    for receipt in &news.receipts {
        *seen = receipt.sequence;
        if receipt.meets(selection, filter) {
            let _ = write!(text, "id: {}\nevent: receipt\ndata: {}\n\n", receipt.sequence, receipt.json);
        } else if news.receipts.last().is_some_and(|last| last.sequence == receipt.sequence) {
            // A viewer that comes back is not to be told that it has lost what it did not want.
            let _ = write!(text, "id: {seen}\n\n");
        }
    }
    text
}
