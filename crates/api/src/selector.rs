//! Label selectors.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Chooses objects by their labels. An empty selector matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels that must be there with exactly these values.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements, all of which must hold.
    #[serde(default)]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One requirement on one label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LabelRequirement {
    /// The label's key.
    pub key: String,
    /// How `values` constrain it.
    pub operator: LabelOperator,
    /// The values of `In` and `NotIn`; empty for the others.
    #[serde(default)]
    pub values: Vec<String>,
}

/// How a requirement constrains its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum LabelOperator {
    /// Present with one of the values.
    In,
    /// Absent, or present with none of the values.
    NotIn,
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether an object with these labels is chosen.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

impl LabelRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            LabelOperator::In => listed,
            LabelOperator::NotIn => !listed,
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    }

    fn selector(json: &str) -> LabelSelector {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_empty_selector_matches_everything() {
        assert!(LabelSelector::default().matches(&labels(&[])));
    }

    #[test]
    fn labels_and_expressions_must_all_hold() {
        let selector = selector(
            r#"{"matchLabels": {"app": "qwen"}, "matchExpressions": [
                {"key": "role", "operator": "In", "values": ["decode", "both"]},
                {"key": "drain", "operator": "DoesNotExist"}]}"#,
        );
        assert!(selector.matches(&labels(&[("app", "qwen"), ("role", "both")])));
        assert!(!selector.matches(&labels(&[("app", "qwen"), ("role", "prefill")])));
        assert!(!selector.matches(&labels(&[("app", "qwen")])));
        assert!(!selector.matches(&labels(&[("app", "qwen"), ("role", "both"), ("drain", "")])));
    }

    #[test]
    fn not_in_holds_for_an_absent_label() {
        let selector = selector(r#"{"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}"#);
        assert!(selector.matches(&labels(&[])));
        assert!(selector.matches(&labels(&[("a", "2")])));
        assert!(!selector.matches(&labels(&[("a", "1")])));
    }
}
