//! A receipt as it is kept: as long as nobody reads it, no more than what the request's record knew.

mod form;
mod texts;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::Method;
use pailou_ai::usage::Usage;
use pailou_snapshot::Name;
use pailou_telemetry::{receipt::BeatenRule, receipt_selection::Reason};

pub(crate) use self::{
    form::picked,
    texts::{Text, Texts},
};

/// Memory that an entry of the ring takes beside the receipt, about, in bytes.
const ENTRY_OVERHEAD: usize = 64;

/// A receipt with what it is found by.
#[derive(Debug)]
pub struct StoredReceipt {
    /// Its number, from 1: later ones have greater numbers.
    pub sequence: u64,
    pub(crate) reason: Reason,
    /// Time at which the request's head was read.
    pub(crate) time: SystemTime,
    pub(crate) method: Method,
    /// Status of the response; 0 if there was none.
    pub(crate) status: u16,
    /// Reason that the response is not what the backend said.
    pub(crate) flag: Option<&'static str>,
    pub(crate) texts: Texts,
    pub(crate) rules: Arc<RequestRules>,
    /// The rules are this receipt's alone, as far as it knows.
    pub(crate) has_own_rules: bool,
    pub(crate) pick: Option<pailou_picker::Receipt>,
    /// The pool that the pick was made in.
    pub(crate) pool: Option<Name>,
    /// The endpoint of the last attempt.
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) prefill_endpoint: Option<Arc<str>>,
    /// Attempts before the last one.
    pub(crate) past: Vec<PastAttempt>,
    pub(crate) attempts_made: u32,
    pub(crate) usage: Option<Usage>,
    pub(crate) nano_usd: Option<u64>,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) times: Times,
}

/// Times since the request's head was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The first attempt.
    pub(crate) first: Option<Duration>,
    /// The last attempt.
    pub(crate) last: Option<Duration>,
    /// The response's head.
    pub(crate) head: Option<Duration>,
    /// The first content of a response that is no error.
    pub(crate) content: Option<Duration>,
    /// Time that it waited for an endpoint with room.
    pub(crate) wait: Option<Duration>,
    /// The end.
    pub(crate) total: Duration,
}

/// An attempt that was followed by another.
#[derive(Debug)]
pub(crate) struct PastAttempt {
    pub(crate) endpoint: Arc<str>,
    pub(crate) start: Duration,
    pub(crate) end: Duration,
    /// The status that the backend answered with.
    pub(crate) status: Option<u16>,
    pub(crate) flag: Option<&'static str>,
}

/// The rules of a request, and what its own does, as receipts have them. Those of like requests share it.
#[derive(Debug, Default)]
pub(crate) struct RequestRules {
    /// `namespace/gateway/listener`; empty if there was none.
    pub(crate) listener: Box<str>,
    /// `HTTPRoute namespace/name/rule`; empty if no rule took it.
    pub(crate) route: Box<str>,
    /// With the policies that set them.
    pub(crate) filters: Vec<String>,
    /// With the objects that set them.
    pub(crate) policies: Vec<String>,
    pub(crate) notes: RuleNotes,
}

/// The rules of a request's host, as far as they are of interest.
#[derive(Debug, Default)]
pub(crate) struct RuleNotes {
    pub(crate) by: String,
    pub(crate) beaten: Vec<BeatenRule>,
    pub(crate) others: usize,
    pub(crate) note: Option<&'static str>,
}

impl RequestRules {
    /// Memory that they take, in bytes.
    pub(crate) fn size(&self) -> usize {
        let beaten = self.notes.beaten.iter().map(|it| size_of::<BeatenRule>() + it.rule.len() + it.by.len() + it.why.len());
        let names = self.filters.iter().chain(&self.policies).map(|it| size_of::<String>() + it.len()).sum::<usize>();
        size_of::<Self>() + self.listener.len() + self.route.len() + self.notes.by.len() + names + beaten.sum::<usize>()
    }
}

impl StoredReceipt {
    /// The receipt, one line of JSON.
    pub fn to_json(&self) -> String {
        form::json(self)
    }

    /// The request's id.
    pub(crate) fn id(&self) -> &str {
        self.texts.get(Text::Id).unwrap_or_default()
    }

    /// The rule's name; empty if there was none.
    pub(crate) fn route(&self) -> &str {
        &self.rules.route
    }

    /// The model that the client asked for, cut; empty if there was none.
    pub(crate) fn model(&self) -> &str {
        self.texts.get(Text::Model).unwrap_or_default()
    }

    /// Memory that it takes, in bytes. Rules that it shares count where they were written first.
    pub fn size(&self) -> usize {
        let scored = self.pick.as_ref().map_or(0, |pick| pick.scored.capacity() * size_of::<pailou_picker::Scored>());
        let rules = if self.has_own_rules { self.rules.size() } else { 0 };
        ENTRY_OVERHEAD + size_of::<Self>() + self.texts.len() + scored + self.past.capacity() * size_of::<PastAttempt>() + rules
    }
}
