//! The receipt of a request's record.

use std::{sync::Arc, time::Duration};

use pailou_snapshot::{EndpointKey, Snapshot};
use pailou_telemetry::{ids::SpanId, receipt_selection::Reason};

use super::rules_cache;
use crate::{
    request_record::RequestRecord,
    stored_receipt::{StoredReceipt, Texts, Times},
};

/// The receipt of a request that has ended after `duration`; its number is still to come.
pub(super) fn of_record(
    record: &mut RequestRecord,
    reason: Reason,
    duration: Duration,
    snapshot: Option<&Arc<Snapshot>>,
) -> StoredReceipt {
    let (rules, has_own_rules) = rules_cache::of_record(record, snapshot);
    let mut own_id = *b"receipt-0123456789abcdef";
    let id = record.request_id().unwrap_or_else(|| {
        own_id[8..].copy_from_slice(&SpanId::from_random(fastrand::u64(..)).to_hex());
        str::from_utf8(&own_id).unwrap_or_default()
    });
    let (sent, detail) = (record.sent_model(), record.detail.as_deref());
    let texts = Texts::new([Some(id), Some(&record.host), Some(&record.path), record.model.as_deref(), sent, detail]);
    let key = record.cluster.as_ref().map(|cluster| &cluster.key().endpoints);
    let pool = key.and_then(|key| if let EndpointKey::Pool(name) = key { Some(name.clone()) } else { None });
    let times = Times {
        first: record.trail.first,
        last: record.trail.current,
        head: record.head_after,
        content: record.first_content(),
        wait: record.queued_for,
        total: duration,
    };
    let more = record.trail.more.as_mut();
    let (pick, past) = more.map(|more| (more.pick.take(), std::mem::take(&mut more.past))).unwrap_or_default();
    StoredReceipt {
        sequence: 0,
        reason,
        time: record.time,
        method: record.method.clone(),
        status: record.status.map_or(0, |status| status.as_u16()),
        flag: record.flag.map(|flag| flag.code()),
        texts,
        rules,
        has_own_rules,
        pick,
        pool,
        endpoint: record.endpoint.clone(),
        prefill_endpoint: record.prefill_endpoint.clone(),
        past,
        attempts_made: record.attempts,
        usage: record.usage,
        nano_usd: record.nano_usd,
        request_bytes: record.request_bytes,
        response_bytes: record.response_bytes,
        times,
    }
}
