//! A receipt, filled in from the record of a request that has ended.

use std::time::Duration;

use jiff::Timestamp;
use pailou_snapshot::{EndpointKey, KnownRequest, Listener, Miss, RouteName, RoutingStrategy, Rule, Snapshot};
use pailou_telemetry::{
    receipt::{
        Attempt, AttemptResult, BeatenRule, Bytes, Cache, Candidate, MAX_BEATEN, Model, Pick, Receipt, RuleMatch, SCHEMA, Timing,
        TokenUsage, cut,
    },
    receipt_ring::StoredReceipt,
    receipt_selection::Reason,
};

use super::{MAX_MATCHES, listener};
use crate::{receipt_trail::RuleNotes, request_record::RequestRecord};

/// Matches of other paths that are named where no rule took the request.
const MAX_STRANGERS: usize = 3;

/// The receipt with what it is found by.
pub(super) fn stored(record: &mut RequestRecord, reason: Reason, duration: Duration, snapshot: Option<&Snapshot>) -> StoredReceipt {
    let own_id = || format!("receipt-{:016x}", fastrand::u64(..));
    let id = record.request_id().map_or_else(own_id, str::to_owned);
    let route = record.rule.as_ref().map(|rule| rule_name(&rule.route)).unwrap_or_default();
    let noted = record.trail.more.as_mut().and_then(|more| more.rules.take());
    let rules = noted.unwrap_or_else(|| rules_of(record, snapshot));
    let json = receipt(record, reason, duration, rules, &id, &route);
    StoredReceipt {
        sequence: 0,
        status: record.status.map_or(0, |status| status.as_u16()),
        flag: record.flag.map(|flag| flag.code()),
        model: cut(record.model.as_deref().unwrap_or_default()).into(),
        id: id.into(),
        route: route.into(),
        json: json.into(),
    }
}

fn receipt(record: &RequestRecord, reason: Reason, duration: Duration, rules: RuleNotes, id: &str, route: &str) -> String {
    let time = format!("{:.3}", Timestamp::try_from(record.time).unwrap_or_default());
    let name = record.listener.as_ref().map(ToString::to_string).unwrap_or_default();
    let filters = record.rule.as_ref().map(|rule| rule.filter_names()).unwrap_or_default();
    let policies = record.rule.as_ref().map(|rule| rule.policy_names()).unwrap_or_default();
    let pick = record.trail.more.as_ref().and_then(|more| more.pick.as_ref());
    let pool = record.cluster.as_ref().map(|cluster| cluster.key().endpoints.clone());
    let pool_name = pool.as_ref().map(|pool| pool.name().to_string()).unwrap_or_default();
    let receipt = Receipt {
        schema: SCHEMA,
        request_id: id,
        time: &time,
        kept: reason.name(),
        listener: &name,
        method: record.method.as_str(),
        host: &record.host,
        path: &record.path,
        status: record.status.map(|status| status.as_u16()),
        flag: record.flag.map(|flag| flag.code()),
        detail: record.detail.as_deref(),
        rule: RuleMatch {
            matched: (!route.is_empty()).then_some(route),
            by: &rules.by,
            beaten: rules.beaten,
            others: rules.others,
            note: rules.note,
        },
        filters: &filters,
        policies: &policies,
        model: Model { asked: record.model.as_deref(), sent: record.sent_model() },
        pick: pick.filter(|_| matches!(pool, Some(EndpointKey::Pool(_)))).map(|pick| picked(pick, &pool_name)),
        attempts: attempts(record, duration),
        attempts_made: record.attempts,
        prefill_endpoint: record.prefill_endpoint.as_deref(),
        cache: Cache {
            predicted: pick.and_then(|pick| pick.scored.get(pick.chosen)).map(|chosen| chosen.overlap_tokens),
            actual: record.usage.and_then(|usage| usage.cached_tokens),
        },
        usage: record.usage.map(|usage| TokenUsage {
            input: usage.input_tokens,
            output: usage.output_tokens,
            reasoning: usage.reasoning_tokens,
        }),
        cost_usd: record.nano_usd.map(|nano| nano as f64 / 1e9),
        bytes: Bytes { request: record.request_bytes, response: record.response_bytes },
        timing: timing(record, duration),
        truncated: false,
    };
    receipt.to_json()
}

/// `HTTPRoute namespace/name/rule`.
pub(crate) fn rule_name(route: &RouteName) -> String {
    format!("{} {route}", route.kind.name())
}

/// The rules that the request met, as far as they can still be told.
fn rules_of(record: &RequestRecord, snapshot: Option<&Snapshot>) -> RuleNotes {
    let found = snapshot.zip(record.listener.as_ref()).and_then(|(snapshot, name)| Some((snapshot, listener(snapshot, name)?)));
    let Some((snapshot, listener)) = found else { return RuleNotes::default() };
    let model = record.replaced_model.as_deref().or(record.model.as_deref());
    let base_model = model.and_then(|model| snapshot.base_models.get(model)).map(String::as_str);
    let path = pailou_snapshot::normalize_path(&record.path, listener.client.path);
    let path = path.as_ref().map_or(&*record.path, |normal| &normal.path);
    let request = KnownRequest { host: &record.host, method: &record.method, path, rest: None, model, base_model };
    let taken = record.rule.as_deref();
    if let Some(taken) = taken
        && !listener.routes.entries_of(&record.host).any(|entry| std::ptr::eq(&*entry.rule, taken))
    {
        return RuleNotes {
            note: Some("the configuration has changed since: the rules beaten are not known"),
            ..RuleNotes::default()
        };
    }
    rules(listener, &request, taken)
}

/// The matches of a listener that a request met. `taken`: the rule that it took, where only part of the request is known.
pub(crate) fn rules(listener: &Listener, request: &KnownRequest<'_>, taken: Option<&Rule>) -> RuleNotes {
    let mut notes = RuleNotes::default();
    let mut strangers = Vec::new();
    for contender in listener.routes.contenders(request, taken, MAX_MATCHES) {
        match &contender.miss {
            None => notes.by = contender.entry.to_string(),
            Some(Miss::Path) => {
                notes.others += 1;
                if strangers.len() < MAX_STRANGERS {
                    strangers.push(beaten(&contender));
                }
            }
            Some(_) if notes.beaten.len() <= MAX_BEATEN => notes.beaten.push(beaten(&contender)),
            Some(_) => {}
        }
    }
    if notes.beaten.is_empty() && notes.by.is_empty() {
        notes.others -= strangers.len();
        notes.beaten = strangers;
    }
    notes
}

fn beaten(contender: &pailou_snapshot::Contender<'_>) -> BeatenRule {
    let miss = contender.miss.as_ref().map(ToString::to_string).unwrap_or_default();
    BeatenRule { rule: rule_name(&contender.entry.rule.route), by: contender.entry.to_string(), why: miss }
}

/// The picker's reasons, for a pool of this name.
pub(crate) fn picked<'a>(pick: &'a pailou_picker::Receipt, pool: &'a str) -> Pick<'a> {
    let name = |at: usize| pick.scored.get(at).map(|scored| &*scored.endpoint.name);
    // Another picker judges by itself, and gives no reasons.
    let is_judged = pick.judged > 0;
    let strategy = match pick.strategy {
        _ if !is_judged => "external",
        RoutingStrategy::Load => "load",
        RoutingStrategy::PrefixCache => "prefix-cache",
    };
    let runner_up = if pick.chosen == 0 { name(1) } else { name(pick.chosen + 1) };
    Pick {
        pool,
        strategy,
        saturation: rounded(pick.saturation),
        judged: pick.judged,
        candidates: if is_judged { pick.scored.iter().map(candidate).collect() } else { Vec::new() },
        chosen: name(pick.chosen).unwrap_or_default(),
        runner_up,
        best_prefix: rounded(pick.scored.iter().map(|scored| scored.prefix).fold(0.0, f32::max)),
        why: if is_judged { pick.why() } else { "another picker chose" },
    }
}

fn candidate(scored: &pailou_picker::Scored) -> Candidate<'_> {
    Candidate {
        endpoint: &scored.endpoint.name,
        score: rounded(scored.score),
        queue: rounded(scored.waiting),
        running: rounded(scored.running),
        kv: rounded(scored.kv),
        prefix: rounded(scored.prefix),
        overlap_tokens: scored.overlap_tokens,
        fresh: scored.fresh,
        excluded: scored.excluded(),
    }
}

/// Three digits are enough.
fn rounded(figure: f32) -> f32 {
    (figure * 1000.0).round() / 1000.0
}

fn attempts(record: &RequestRecord, duration: Duration) -> Vec<Attempt<'_>> {
    let past = record.trail.more.iter().flat_map(|more| &more.past).map(|attempt| Attempt {
        endpoint: &attempt.endpoint,
        start: millis(attempt.start),
        head: None,
        first_content: None,
        end: millis(attempt.end),
        result: attempt.status.map_or(AttemptResult::Word("no response"), AttemptResult::Status),
        flag: attempt.flag,
    });
    let last = record.trail.current.map(|start| Attempt {
        endpoint: record.endpoint.as_deref().unwrap_or_default(),
        start: millis(start),
        head: record.head_after.filter(|_| is_answered(record)).map(millis),
        first_content: record.content_after.map(millis),
        end: millis(duration),
        result: match record.status.filter(|_| is_answered(record)) {
            Some(status) => AttemptResult::Status(status.as_u16()),
            None => AttemptResult::Word("no response"),
        },
        flag: record.flag.map(|flag| flag.code()),
    });
    past.chain(last).collect()
}

/// Whether the backend gave the response: what breaks off after it has a flag too.
fn is_answered(record: &RequestRecord) -> bool {
    record.flag.is_none() || record.response_bytes > 0
}

fn timing(record: &RequestRecord, duration: Duration) -> Timing {
    let wait = record.queued_for;
    Timing {
        wait: wait.map(millis),
        overhead: record.trail.first.map(|first| millis(first.saturating_sub(wait.unwrap_or_default()))),
        head: record.head_after.map(millis),
        ttft: record.content_after.map(millis),
        total: millis(duration),
    }
}

/// Milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}
