//! The receipts that a process keeps: the newest ones, bounded in number and in bytes.

use std::{collections::VecDeque, sync::Arc};

use pailou_telemetry::receipt::cut;

use crate::stored_receipt::StoredReceipt;

/// Most receipts.
const MAX_RECEIPTS: usize = 4096;
/// Most bytes of all receipts together: about 2,000 receipts of 1 KB.
const MAX_BYTES: usize = 2 << 20;

/// Conditions on receipts; all hold together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReceiptFilter {
    /// Statuses from the first to the last.
    pub status: Option<(u16, u16)>,
    /// The flag.
    pub flag: Option<String>,
    /// Text in the rule's name.
    pub route: Option<String>,
    /// The model that the client asked for.
    pub model: Option<String>,
}

impl ReceiptFilter {
    /// Whether a receipt meets them.
    pub fn holds(&self, receipt: &StoredReceipt) -> bool {
        self.status.is_none_or(|(first, last)| (first..=last).contains(&receipt.status))
            && self.flag.as_ref().is_none_or(|flag| receipt.flag == Some(flag.as_str()))
            && self.route.as_ref().is_none_or(|route| receipt.route().contains(route.as_str()))
            && self.model.as_ref().is_none_or(|model| *receipt.model() == *cut(model))
    }
}

/// Receipts in the order of their end.
#[derive(Debug)]
pub(super) struct ReceiptRing {
    receipts: VecDeque<Arc<StoredReceipt>>,
    bytes: usize,
    last: u64,
    max_receipts: usize,
}

/// A receipt that was kept, and one that made room for it.
pub(super) struct Pushed {
    pub(super) newest: Arc<StoredReceipt>,
    pub(super) gone: Option<Arc<StoredReceipt>>,
}

/// Receipts after one that a reader has seen.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Receipts that went before they could be read.
    pub lost: u64,
    /// The others, oldest first.
    pub receipts: Vec<Arc<StoredReceipt>>,
}

impl ReceiptRing {
    /// A ring of at most so many receipts, and of at most [`MAX_RECEIPTS`].
    pub(super) fn new(max_receipts: usize) -> Self {
        Self { receipts: VecDeque::new(), bytes: 0, last: 0, max_receipts: max_receipts.min(MAX_RECEIPTS) }
    }

    /// Keeps a receipt that nobody else has, gives it its number, and lets go of the oldest ones where there is no more room: the last of
    /// them is for the caller to drop, without a lock.
    pub(super) fn push(&mut self, mut receipt: Arc<StoredReceipt>) -> Pushed {
        self.last += 1;
        if let Some(receipt) = Arc::get_mut(&mut receipt) {
            receipt.sequence = self.last;
        }
        self.bytes += receipt.size();
        self.receipts.push_back(Arc::clone(&receipt));
        let mut gone = None;
        while self.receipts.len() > self.max_receipts || self.bytes > MAX_BYTES {
            gone = self.receipts.pop_front();
            self.bytes -= gone.as_ref().map_or(0, |oldest| oldest.size());
        }
        Pushed { newest: receipt, gone }
    }

    /// The newest receipt of a request's id.
    pub(super) fn find(&self, id: &str) -> Option<Arc<StoredReceipt>> {
        self.receipts.iter().rev().find(|receipt| receipt.id() == id).cloned()
    }

    /// The newest that meet the conditions, newest first.
    pub(super) fn newest(&self, filter: &ReceiptFilter, limit: usize) -> Vec<Arc<StoredReceipt>> {
        self.receipts.iter().rev().filter(|receipt| filter.holds(receipt)).take(limit).cloned().collect()
    }

    /// At most `limit` receipts after that number, oldest first.
    pub(super) fn after(&self, sequence: u64, limit: usize) -> News {
        // A number that was never given is of another process.
        let sequence = if sequence > self.last { 0 } else { sequence };
        let first = self.last - self.receipts.len() as u64 + 1;
        let lost = first.saturating_sub(sequence + 1);
        let seen = (sequence + 1).saturating_sub(first) as usize;
        News { lost, receipts: self.receipts.iter().skip(seen).take(limit).cloned().collect() }
    }

    /// Number of the newest; 0 if there was none.
    pub(super) fn last(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderValue, Method, StatusCode, Version};
    use pailou_telemetry::receipt_selection::Reason;

    use super::*;
    use crate::{
        receipts::stored,
        request_record::{RequestId, RequestRecord},
        stored_receipt::RequestRules,
    };

    fn receipt(id: &str, status: u16) -> Arc<StoredReceipt> {
        let mut record = RequestRecord::new(([127, 0, 0, 1], 1).into(), Method::GET, Version::HTTP_11);
        record.request_id = RequestId::Known(HeaderValue::from_str(id).unwrap());
        record.status = StatusCode::from_u16(status).ok();
        record.model = Some("qwen".into());
        let mut receipt = stored::of_record(&mut record, Reason::Sampled, Duration::ZERO, None);
        receipt.flag = (status >= 500).then_some("UF");
        receipt.rules = Arc::new(RequestRules { route: "HTTPRoute default/web/0".into(), ..RequestRules::default() });
        Arc::new(receipt)
    }

    #[test]
    fn the_newest_are_kept_and_found() {
        let mut ring = ReceiptRing::new(3);
        for (at, id) in ["a", "b", "c", "b"].into_iter().enumerate() {
            ring.push(receipt(id, if at == 3 { 503 } else { 200 }));
        }
        assert!(ring.find("a").is_none());
        assert_eq!(ring.find("b").map(|it| (it.sequence, it.status)), Some((4, 503)));
        let numbers = |filter: &ReceiptFilter| ring.newest(filter, 9).iter().map(|it| it.sequence).collect::<Vec<_>>();
        assert_eq!(numbers(&ReceiptFilter::default()), [4, 3, 2]);
        assert_eq!(numbers(&ReceiptFilter { status: Some((500, 599)), ..ReceiptFilter::default() }), [4]);
        assert_eq!(numbers(&ReceiptFilter { flag: Some("UF".to_owned()), ..ReceiptFilter::default() }), [4]);
        assert_eq!(numbers(&ReceiptFilter { route: Some("default/web".to_owned()), ..ReceiptFilter::default() }), [4, 3, 2]);
        assert!(numbers(&ReceiptFilter { model: Some("q".to_owned()), ..ReceiptFilter::default() }).is_empty());
    }

    #[test]
    fn a_slow_reader_learns_what_it_lost() {
        let mut ring = ReceiptRing::new(2);
        assert_eq!(ring.after(0, 9).lost, 0);
        for id in ["a", "b", "c", "d"] {
            ring.push(receipt(id, 200));
        }
        let news = |sequence, limit| {
            let news = ring.after(sequence, limit);
            (news.lost, news.receipts.iter().map(|it| it.sequence).collect::<Vec<_>>())
        };
        assert_eq!(news(0, 9), (2, vec![3, 4]));
        assert_eq!(news(2, 1), (0, vec![3]));
        assert_eq!(news(4, 9), (0, vec![]));
        assert_eq!(news(77, 9), (2, vec![3, 4]));
    }

    #[test]
    fn receipts_are_bounded_in_bytes() {
        let mut ring = ReceiptRing::new(MAX_RECEIPTS);
        let long = "x".repeat(100_000);
        for _ in 0..100 {
            ring.push(receipt(&long, 200));
        }
        let kept = ring.receipts.len();
        assert!(ring.bytes <= MAX_BYTES && (15..21).contains(&kept), "{kept}");
        assert_eq!(ring.bytes, ring.receipts.iter().map(|receipt| receipt.size()).sum::<usize>());
    }
}
