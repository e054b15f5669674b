//! Series by model.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use hashbrown::Equivalent;
use pailou_ai::Api;
use pailou_telemetry::metric_table::Distribution;

use super::{
    bounded::Bounded,
    figures::{ModelFigures, ModelTotals},
    model_series::ModelSeries,
};
use crate::{request_record::RequestRecord, running_call::RunningCall};

/// Models that have series of their own; those beyond share one. As many as the reference endpoint picker has.
const MAX_MODELS: usize = 1_000;
/// Longest name of a model that has series of its own, in bytes.
const MAX_NAME: usize = 256;
/// The labels of those beyond the bounds.
const OTHER: &str = "other";

/// The series of each model that a rule's requests asked for.
pub(super) struct ByModel(Bounded<ModelKey, ModelSeries>);

/// Labels of a model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ModelKey {
    /// OpenTelemetry's name of the operation.
    pub(super) operation: &'static str,
    /// OpenTelemetry's name of the provider whose API it is.
    pub(super) provider: &'static str,
    /// The client's name of the model.
    pub(super) asked: Box<str>,
    /// The name that the engine was given.
    pub(super) sent: Box<str>,
}

/// A [`ModelKey`] that is borrowed.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct ModelName<'a> {
    operation: &'static str,
    provider: &'static str,
    asked: &'a str,
    sent: &'a str,
}

impl Equivalent<ModelKey> for ModelName<'_> {
    fn equivalent(&self, key: &ModelKey) -> bool {
        *self == ModelName { operation: key.operation, provider: key.provider, asked: &key.asked, sent: &key.sent }
    }
}

impl<'a> ModelName<'a> {
    /// The model that a request asked for; `None` where it is no model call.
    pub(super) fn of(record: &'a RequestRecord) -> Option<Self> {
        let asked = record.model.as_deref()?;
        let sent = record.sent_model().unwrap_or(asked);
        let api = Api::from_path(&record.path);
        let operation = api.and_then(Api::operation).unwrap_or(OTHER);
        let provider = api.map_or("openai", Api::provider);
        let is_long = asked.len() > MAX_NAME || sent.len() > MAX_NAME;
        let [asked, sent] = if is_long { [OTHER; 2] } else { [asked, sent] };
        Some(Self { operation, provider, asked, sent })
    }

    pub(super) fn to_key(&self) -> ModelKey {
        ModelKey { operation: self.operation, provider: self.provider, asked: self.asked.into(), sent: self.sent.into() }
    }
}

impl Default for ByModel {
    fn default() -> Self {
        Self(Bounded::new(MAX_MODELS))
    }
}

impl fmt::Debug for ByModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByModel").finish_non_exhaustive()
    }
}

impl ByModel {
    /// Counts a request that has ended after `duration`.
    pub(super) fn settle(&self, record: &RequestRecord, duration: Duration) {
        let Some(name) = ModelName::of(record) else { return };
        self.0.with(&name, || name.to_key(), |series| series.settle(record, duration));
    }

    /// Counts a request that goes to an endpoint now, until the guard is dropped.
    pub(super) fn begin(&self, record: &RequestRecord) -> Option<RunningCall> {
        let name = ModelName::of(record)?;
        Some(self.0.with(&name, || name.to_key(), |series| RunningCall::begin(&series.running)))
    }

    /// All of them, in the order of their labels.
    pub(super) fn labelled(&self) -> Vec<(ModelKey, Arc<ModelSeries>)> {
        let mut all = Vec::new();
        self.0.each(|key, series| {
            let other = || ModelKey { operation: OTHER, provider: OTHER, asked: OTHER.into(), sent: OTHER.into() };
            all.push((key.cloned().unwrap_or_else(other), series.clone()));
        });
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// Sums of all, and the figures of those with most requests, at most so many.
    pub(super) fn totals(&self, most: usize) -> ModelTotals {
        let all = self.labelled();
        let mut busiest = by_names(&all);
        // Stable, so that models with as many requests keep their order.
        busiest.sort_by_key(|model| std::cmp::Reverse(model.requests));
        let omitted = busiest.len().saturating_sub(most);
        busiest.truncate(most);
        ModelTotals {
            per_output_token: Distribution::total(all.iter().map(|(_, series)| series.per_output_token())),
            cached_tokens: all.iter().fold(0, |sum, (_, series)| sum.saturating_add(series.cached_tokens.sum())),
            reasoning_tokens: all.iter().fold(0, |sum, (_, series)| sum.saturating_add(series.reasoning_tokens.sum())),
            busiest,
            omitted,
        }
    }
}

/// Figures of each pair of names, whatever the operation and the provider, in the order of the names.
fn by_names(all: &[(ModelKey, Arc<ModelSeries>)]) -> Vec<ModelFigures> {
    let mut by_names: BTreeMap<(&str, &str), ModelFigures> = BTreeMap::new();
    for (key, series) in all {
        let figures = figures(key, series);
        match by_names.entry((&key.asked, &key.sent)) {
            Entry::Vacant(entry) => drop(entry.insert(figures)),
            Entry::Occupied(mut entry) => entry.get_mut().add(&figures),
        }
    }
    by_names.into_values().collect()
}

fn figures(key: &ModelKey, series: &ModelSeries) -> ModelFigures {
    let failed = |wanted: &str| series.failed().filter(|(kind, _)| *kind == wanted).map(|(_, all)| all.count).sum();
    let first = series.first_content();
    ModelFigures {
        asked: key.asked.clone(),
        sent: key.sent.clone(),
        requests: series.duration().count,
        errors: failed("5xx"),
        client_errors: failed("4xx"),
        input_tokens: series.input_tokens.sum(),
        output_tokens: series.output_tokens.sum(),
        ttft_seconds: first.sum,
        ttft_count: first.count,
    }
}
