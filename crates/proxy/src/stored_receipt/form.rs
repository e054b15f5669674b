//! The JSON form of a receipt that is kept, written when somebody reads it.

use std::time::Duration;

use jiff::Timestamp;
use pailou_snapshot::RoutingStrategy;
use pailou_telemetry::receipt::{
    Attempt, AttemptResult, Bytes, Cache, Candidate, Model, Pick, PromptTokens, Receipt, RuleMatch, SCHEMA, Timing, TokenUsage,
};

use super::{StoredReceipt, Text, Times};

pub(super) fn json(stored: &StoredReceipt) -> String {
    let StoredReceipt { texts, rules, pick, .. } = stored;
    let time = format!("{:.3}", Timestamp::try_from(stored.time).unwrap_or_default());
    let pool = stored.pool.as_ref().map(ToString::to_string);
    let receipt = Receipt {
        schema: SCHEMA,
        request_id: stored.id(),
        time: &time,
        kept: stored.reason.name(),
        listener: &rules.listener,
        method: stored.method.as_str(),
        host: texts.get(Text::Host).unwrap_or_default(),
        path: texts.get(Text::Path).unwrap_or_default(),
        status: status(stored),
        flag: stored.flag,
        detail: texts.get(Text::Detail),
        rule: RuleMatch {
            matched: (!rules.route.is_empty()).then_some(&*rules.route),
            by: &rules.notes.by,
            beaten: rules.notes.beaten.clone(),
            others: rules.notes.others,
            note: rules.notes.note,
        },
        filters: &rules.filters,
        policies: &rules.policies,
        model: Model { asked: texts.get(Text::Model), sent: texts.get(Text::SentModel) },
        pick: pick.as_ref().zip(pool.as_deref()).map(|(pick, pool)| picked(pick, pool)),
        attempts: attempts(stored),
        attempts_made: stored.attempts_made,
        prefill_endpoint: stored.prefill_endpoint.as_deref(),
        cache: Cache {
            predicted: pick.as_ref().and_then(|pick| pick.scored.get(pick.chosen)).map(|chosen| chosen.overlap_tokens),
            actual: stored.usage.and_then(|usage| usage.cached_tokens),
        },
        usage: stored.usage.map(|usage| TokenUsage {
            input: usage.input_tokens,
            output: usage.output_tokens,
            reasoning: usage.reasoning_tokens,
        }),
        cost_usd: stored.nano_usd.map(|nano| nano as f64 / 1e9),
        bytes: Bytes { request: stored.request_bytes, response: stored.response_bytes },
        timing: timing(&stored.times),
        truncated: texts.is_cut,
    };
    receipt.to_json()
}

fn status(stored: &StoredReceipt) -> Option<u16> {
    Some(stored.status).filter(|status| *status > 0)
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
        tokens: pick.tokens_way.map(|way| PromptTokens { by: way.by(), result: way.result(), in_process: way.in_process() }),
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

fn attempts(stored: &StoredReceipt) -> Vec<Attempt<'_>> {
    let past = stored.past.iter().map(|attempt| Attempt {
        endpoint: &attempt.endpoint,
        start: millis(attempt.start),
        head: None,
        first_content: None,
        end: millis(attempt.end),
        result: attempt.status.map_or(AttemptResult::Word("no response"), AttemptResult::Status),
        flag: attempt.flag,
    });
    let times = &stored.times;
    let last = times.last.map(|start| Attempt {
        endpoint: stored.endpoint.as_deref().unwrap_or_default(),
        start: millis(start),
        head: times.head.filter(|_| is_answered(stored)).map(millis),
        first_content: times.content.map(millis),
        end: millis(times.total),
        result: match status(stored).filter(|_| is_answered(stored)) {
            Some(status) => AttemptResult::Status(status),
            None => AttemptResult::Word("no response"),
        },
        flag: stored.flag,
    });
    past.chain(last).collect()
}

/// Whether the backend gave the response: what breaks off after it has a flag too.
fn is_answered(stored: &StoredReceipt) -> bool {
    stored.flag.is_none() || stored.response_bytes > 0
}

fn timing(times: &Times) -> Timing {
    Timing {
        wait: times.wait.map(millis),
        overhead: times.first.map(|first| millis(first.saturating_sub(times.wait.unwrap_or_default()))),
        head: times.head.map(millis),
        ttft: times.content.map(millis),
        total: millis(times.total),
    }
}

/// Milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}
