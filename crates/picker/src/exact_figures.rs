//! Figures of a pool's KV events and tokens, under the names that gateway and picker export.

use crate::exact_prefixes::ExactPrefixes;

/// A metric of a pool.
#[derive(Clone, Debug)]
pub struct ExactFigure {
    /// Its name.
    pub name: &'static str,
    /// Its meaning.
    pub help: &'static str,
    /// Name of the label that tells its values apart; without one there is one value.
    pub label: Option<&'static str>,
    /// Its values, with the label's.
    pub values: Vec<(&'static str, f64)>,
}

/// All figures.
pub(crate) fn figures(exact: &ExactPrefixes) -> Vec<ExactFigure> {
    let cache = exact.kv_cache.report();
    let counts = |values: &[(&'static str, u64)]| values.iter().map(|(name, value)| (*name, *value as f64)).collect();
    let one = |value: f64| vec![("", value)];
    let (blocks, events, sequence) = (cache.index, cache.events, cache.sequence);
    let figure = |name, help, label, values| ExactFigure { name, help, label, values };
    vec![
        figure("pailou_kv_index_blocks", "Blocks that engines have told to be cached", None, one(cache.blocks.into())),
        figure(
            "pailou_kv_publishers",
            "Publishers of KV events, by what is known of their caches: all, a part, or nothing because nothing is understood",
            Some("state"),
            counts(&[("complete", cache.complete), ("incomplete", cache.incomplete), ("mute", cache.mute)]),
        ),
        figure(
            "pailou_kv_event_batches",
            "Batches of KV events",
            Some("result"),
            counts(&[("understood", events.batches - events.malformed_batches), ("malformed", events.malformed_batches)]),
        ),
        figure(
            "pailou_kv_events",
            "KV events",
            Some("result"),
            counts(&[("understood", events.events), ("unknown", events.unknown_events), ("malformed", events.malformed_events)]),
        ),
        figure(
            "pailou_kv_event_blocks",
            "Blocks in KV events: stored, removed, left out (unknown parents, kinds without use), evicted from a full index",
            Some("kind"),
            counts(&[
                ("stored", blocks.stored),
                ("removed", blocks.removed),
                ("unknown", blocks.unknown),
                ("ignored", blocks.ignored),
                ("evicted", blocks.evicted),
            ]),
        ),
        figure("pailou_kv_cache_clears", "Times that engines cleared their caches", None, one(blocks.clears as f64)),
        figure(
            "pailou_kv_event_sequence",
            "Breaks in the sequence of KV events, and replays",
            Some("kind"),
            counts(&[
                ("restart", sequence.restarts),
                ("gap", sequence.gaps),
                ("replay", sequence.replays),
                ("failed_replay", sequence.failed_replays),
            ]),
        ),
        figure(
            "pailou_kv_event_lag_seconds",
            "Age of the last live batch of KV events as it was applied, by the engine's clock: the greatest of all publishers",
            None,
            one(cache.lag_seconds),
        ),
        figure(
            "pailou_prompt_tokenizations",
            "Requests by the way in which their prompts' tokens were found, or by the reason why they were not",
            Some("result"),
            exact.tokenizer.outcomes().map(|(name, count)| (name, count as f64)).collect(),
        ),
        figure(
            "pailou_prompt_in_process_tokenizations",
            "Requests for models whose files are there, by what the tokenizer in this process made of them",
            Some("result"),
            counts(&exact.tokenizer.in_process_outcomes().collect::<Vec<_>>()),
        ),
        figure(
            "pailou_prompt_token_mismatches",
            "Prompts of which an engine counted another number of tokens than a tokenizer gave",
            None,
            one(exact.tokenizer.mismatches() as f64),
        ),
        figure(
            "pailou_prompt_tokens_remembered",
            "Tokens of prompts that are remembered",
            None,
            one(exact.tokenizer.remembered_tokens() as f64),
        ),
    ]
}
