//! Filters by labels of Pods. They are decided where a Pod becomes an endpoint: an endpoint that no profile may use is none.

use std::collections::BTreeMap;

use pailou_api::{
    LabelSelector,
    endpoint_picker_config::{PluginSpec, plugin_parameters},
    selector::LabelRequirement,
};
use pailou_snapshot::{ContextRange, EndpointRole};
use serde::Deserialize;

/// Label with the context lengths that a Pod is for. Source: llm-d.
const CONTEXT_LABEL: &str = "llm-d.ai/context-length-range";
/// Types of filters by labels, the newest name first.
const LABEL_FILTERS: [&str; 3] = ["label-selector-filter", "by-label-selector", "by-label"];

/// Labels of a Pod.
type Labels = BTreeMap<String, String>;

/// Filters of a configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Filters {
    /// Of the profile that chooses where a request is decoded, or of the only one.
    pub(super) decode: Vec<LabelFilter>,
    /// Of the profile that chooses where a prompt is prefilled.
    pub(super) prefill: Vec<LabelFilter>,
    /// Label with context lengths; `None` where they do not count.
    pub(super) context_label: Option<String>,
}

/// A filter by labels.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LabelFilter {
    /// Kubernetes' selector.
    Selector(LabelSelector),
    /// One of some values of a label.
    Values { label: String, values: Vec<String>, allows_none: bool },
}

impl LabelFilter {
    fn keeps(&self, labels: &Labels) -> bool {
        match self {
            Self::Selector(selector) => selector.matches(labels),
            Self::Values { label, values, allows_none } => labels.get(label).map_or(*allows_none, |value| values.contains(value)),
        }
    }
}

impl Filters {
    /// The role that these leave to a Pod; `None`: no profile may use it.
    pub(super) fn role(&self, role: EndpointRole, labels: &Labels) -> Option<EndpointRole> {
        let keep = |filters: &[LabelFilter]| filters.iter().all(|filter| filter.keeps(labels));
        match (role.can_decode() && keep(&self.decode), role.can_prefill() && keep(&self.prefill)) {
            (true, true) => Some(role),
            (true, false) if role == EndpointRole::PrefillDecode => Some(EndpointRole::Decode),
            (true, false) => Some(role),
            (false, true) => Some(EndpointRole::Prefill),
            (false, false) => (role == EndpointRole::Encode).then_some(role),
        }
    }

    /// Context lengths that a Pod is for, where they count and it tells. A label that is none is for no length.
    pub(super) fn context(&self, labels: &Labels) -> Option<ContextRange> {
        let text = labels.get(self.context_label.as_ref()?)?;
        let range = text.split_once('-').and_then(|(min, max)| {
            let range = ContextRange { min: min.trim().parse().ok()?, max: max.trim().parse().ok()? };
            (range.min <= range.max).then_some(range)
        });
        Some(range.unwrap_or(ContextRange { min: u32::MAX, max: u32::MAX }))
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LabelParameters {
    match_labels: BTreeMap<String, String>,
    match_expressions: Vec<LabelRequirement>,
    label: Option<String>,
    valid_values: Vec<String>,
    allows_no_label: bool,
}

/// The filter by labels that a plugin is; `None` where it is another one.
///
/// # Errors
/// Its parameters are wrong. `root` begins their paths.
pub(super) fn label_filter(plugin: &PluginSpec, root: &str) -> Result<Option<LabelFilter>, String> {
    if !LABEL_FILTERS.contains(&plugin.kind.as_str()) {
        return Ok(None);
    }
    let LabelParameters { match_labels, match_expressions, label, valid_values, allows_no_label } =
        plugin_parameters(plugin, root)?;
    let Some(label) = label else {
        return Ok(Some(LabelFilter::Selector(LabelSelector { match_labels, match_expressions })));
    };
    if !match_labels.is_empty() || !match_expressions.is_empty() {
        return Err(format!("{root}.label: it goes with validValues, not with matchLabels and matchExpressions"));
    }
    Ok(Some(LabelFilter::Values { label, values: valid_values, allows_none: allows_no_label }))
}

/// Parameters of `context-length-aware`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContextParameters {
    pub(super) label: Option<String>,
    pub(super) enable_filtering: bool,
    reusable_tokens_producer_name: Option<String>,
}

impl ContextParameters {
    /// The label that it reads.
    ///
    /// # Errors
    /// It is to read something that is not known here.
    pub(super) fn label(self, root: &str) -> Result<String, String> {
        match (self.reusable_tokens_producer_name, self.label) {
            (Some(_), _) => Err(format!("{root}.reusableTokensProducerName: caches are not moved between endpoints; leave it out")),
            (None, Some(label)) if label.is_empty() => Err(format!("{root}.label: it is empty")),
            (None, label) => Ok(label.unwrap_or_else(|| CONTEXT_LABEL.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_pod_has_the_role_that_filters_leave_to_it() {
        let of = |value: &str| LabelFilter::Values { label: "gpu".into(), values: vec![value.into()], allows_none: false };
        let filters = Filters { decode: vec![of("a")], prefill: vec![of("b")], context_label: None };
        let role = |role, gpu: &str| filters.role(role, &labels(&[("gpu", gpu)]));
        assert_eq!(role(EndpointRole::PrefillDecode, "a"), Some(EndpointRole::Decode));
        assert_eq!(role(EndpointRole::PrefillDecode, "b"), Some(EndpointRole::Prefill));
        assert_eq!(role(EndpointRole::Whole, "a"), Some(EndpointRole::Whole));
        assert_eq!(role(EndpointRole::Whole, "b"), None);
        assert_eq!(role(EndpointRole::Prefill, "a"), None);
        assert_eq!(role(EndpointRole::Encode, "c"), Some(EndpointRole::Encode));
        assert_eq!(filters.role(EndpointRole::Whole, &Labels::new()), None);
        let open =
            Filters { decode: vec![LabelFilter::Values { label: "gpu".into(), values: vec![], allows_none: true }], ..filters };
        assert_eq!(open.role(EndpointRole::Whole, &Labels::new()), Some(EndpointRole::Whole));
    }

    #[test]
    fn context_lengths_come_from_the_label() {
        let filters = Filters { context_label: Some(CONTEXT_LABEL.into()), ..Filters::default() };
        let range = |text: &str| filters.context(&labels(&[(CONTEXT_LABEL, text)]));
        assert_eq!(range("0-2048"), Some(ContextRange { min: 0, max: 2048 }));
        for wrong in ["", "2048", "9-1", "a-b", "-1-5"] {
            assert_eq!(range(wrong), Some(ContextRange { min: u32::MAX, max: u32::MAX }), "{wrong:?}");
        }
        assert_eq!(filters.context(&Labels::new()), None);
        assert_eq!(Filters::default().context(&labels(&[(CONTEXT_LABEL, "0-1")])), None);
    }
}
