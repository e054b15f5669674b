//! Receipts as events: what `/receipts/stream` of a process and of a controller share.

use std::{fmt::Write as _, future::Future, time::Duration};

use hyper::body::Bytes;
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};

use super::STREAM_LIMIT;

/// Most receipts that a viewer gets at once.
pub(super) const MAX_BATCH: usize = 256;
/// Least time between two batches for a viewer.
const BATCH_INTERVAL: Duration = Duration::from_millis(250);
/// Interval of comments that keep a stream without news alive.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Receipts that a viewer follows.
pub(super) trait ReceiptSource: Send {
    /// Waits for a receipt after this number; false if none can come any more.
    fn wait_after(&mut self, seen: u64) -> impl Future<Output = bool> + Send;

    /// Events of the receipts after that number, which moves on.
    fn news(&self, seen: &mut u64) -> String;
}

/// Number of the last receipt that a viewer has seen: those from now on are news for one who names none. A number that was never given is
/// of a former process, none of whose receipts are here.
pub(super) fn seen_before(last_event: Option<u64>, newest: u64) -> u64 {
    last_event.map_or(newest, |last| if last > newest { 0 } else { last })
}

/// Sends news until the viewer has gone, or its time is over: the end tells it to come back.
pub(super) async fn follow(source: impl ReceiptSource, seen: u64, send: mpsc::Sender<Bytes>) {
    let _ = time::timeout(STREAM_LIMIT, send_news(source, seen, send)).await;
}

/// Sends news until the viewer has gone. A slow one is waited for, and loses what the source has let go of meanwhile.
async fn send_news(mut source: impl ReceiptSource, mut seen: u64, send: mpsc::Sender<Bytes>) {
    // The number: one that comes back before the first news misses none.
    if send.send(format!("retry: 2000\nid: {seen}\n\n").into()).await.is_err() {
        return;
    }
    let mut quiet_until = Instant::now() + KEEP_ALIVE_INTERVAL;
    loop {
        let text = tokio::select! {
            is_there = source.wait_after(seen) => if is_there { source.news(&mut seen) } else { return },
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

/// The text of events: how many receipts are lost, then the receipts by number, `None` for those that the viewer does not want. `seen`
/// becomes the number of the last one.
pub(super) fn text<T: AsRef<str>>(lost: u64, receipts: impl Iterator<Item = (u64, Option<T>)>, seen: &mut u64) -> String {
    let mut text = String::new();
    if lost > 0 {
        let _ = write!(text, "event: lost\ndata: {{\"lost\":{lost}}}\n\n");
    }
    let mut is_named = true;
    for (sequence, json) in receipts {
        *seen = sequence;
        is_named = json.is_some();
        if let Some(json) = json {
            let _ = write!(text, "id: {sequence}\nevent: receipt\ndata: {}\n\n", json.as_ref());
        }
    }
    // A viewer that comes back is not to be told that it has lost what it did not want.
    if !is_named {
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
    fn the_last_number_is_named_where_its_receipt_is_not_wanted() {
        let mut seen = 3;
        let unwanted = text(2, [(4, Some("{}")), (5, None)].into_iter(), &mut seen);
        assert_eq!(unwanted, "event: lost\ndata: {\"lost\":2}\n\nid: 4\nevent: receipt\ndata: {}\n\nid: 5\n\n");
        assert_eq!(seen, 5);
        assert_eq!(text(0, [(6, None::<&str>), (7, Some("{}"))].into_iter(), &mut seen).matches("id: ").count(), 1);
        assert_eq!(text(0, std::iter::empty::<(u64, Option<&str>)>(), &mut seen), "");
        assert_eq!(seen, 7);
    }
}
