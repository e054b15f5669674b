//! A receipt as it is kept: as long as nobody reads it, no more than what the request's record knew.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::Method;
use pailou_ai::usage::Usage;
use pailou_snapshot::{EndpointKey, Name, Snapshot};
use pailou_telemetry::{ids::SpanId, receipt_selection::Reason};

use super::{
    form,
    rules::RequestRules,
    rules_cache,
    texts::{Text, Texts},
};
use crate::{receipt_trail::PastAttempt, request_record::RequestRecord};

/// Memory that an entry of the ring takes beside the receipt, about, in bytes.
const ENTRY_OVERHEAD: usize = 64;

/// A receipt with what it is found by.
#[derive(Debug)]
pub struct StoredReceipt {
    /// Its number, from 1: later ones have greater numbers.
    pub sequence: u64,
    pub(super) reason: Reason,
    /// When the request's head was read.
    pub(super) time: SystemTime,
    pub(super) method: Method,
    /// Status of the response; 0 if there was none.
    pub(super) status: u16,
    /// Why the response is not what the backend said.
    pub(super) flag: Option<&'static str>,
    pub(super) texts: Texts,
    pub(super) rules: Arc<RequestRules>,
    /// The rules are this receipt's alone, as far as it knows.
    has_own_rules: bool,
    pub(super) pick: Option<pailou_picker::Receipt>,
    /// The pool that the pick was made in.
    pub(super) pool: Option<Name>,
    /// The endpoint of the last attempt.
    pub(super) endpoint: Option<Arc<str>>,
    pub(super) prefill_endpoint: Option<Arc<str>>,
    /// Attempts before the last one.
    pub(super) past: Vec<PastAttempt>,
    pub(super) attempts_made: u32,
    pub(super) usage: Option<Usage>,
    pub(super) nano_usd: Option<u64>,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) times: Times,
}

/// Times since the request's head was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The first attempt.
    pub(super) first: Option<Duration>,
    /// The last attempt.
    pub(super) last: Option<Duration>,
    /// The response's head.
    pub(super) head: Option<Duration>,
    /// The first content of a response that is no error.
    pub(super) content: Option<Duration>,
    /// How long it waited for an endpoint with room.
    pub(super) wait: Option<Duration>,
    /// The end.
    pub(super) total: Duration,
}

impl StoredReceipt {
    /// The receipt of a request that has ended after `duration`; its number is still to come.
    pub(super) fn new(record: &mut RequestRecord, reason: Reason, duration: Duration, snapshot: Option<&Arc<Snapshot>>) -> Self {
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
        Self {
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

    /// The receipt, one line of JSON.
    pub fn to_json(&self) -> String {
        form::json(self)
    }

    /// The request's id.
    pub(super) fn id(&self) -> &str {
        self.texts.get(Text::Id).unwrap_or_default()
    }

    /// The rule's name; empty if there was none.
    pub(super) fn route(&self) -> &str {
        &self.rules.route
    }

    /// The model that the client asked for, cut; empty if there was none.
    pub(super) fn model(&self) -> &str {
        self.texts.get(Text::Model).unwrap_or_default()
    }

    /// Memory that it takes, in bytes. Rules that it shares count where they were written first.
    pub fn size(&self) -> usize {
        let scored = self.pick.as_ref().map_or(0, |pick| pick.scored.capacity() * size_of::<pailou_picker::Scored>());
        let rules = if self.has_own_rules { self.rules.size() } else { 0 };
        ENTRY_OVERHEAD + size_of::<Self>() + self.texts.len() + scored + self.past.capacity() * size_of::<PastAttempt>() + rules
    }
}
