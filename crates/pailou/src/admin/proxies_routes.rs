//! Counts of rules, of all proxies together, for a controller's `/routes`.

use std::collections::HashMap;

use hyper::http::request::Parts;
use pailou_proxy::metrics::RuleFigures;
use pailou_snapshot::RouteName;
use serde_json::Value;

use super::object_rows::MAX_LIMIT;
use crate::gather::{Gatherer, Question, Selection};

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 4 << 20;
/// Most rules.
const MAX_RULES: usize = 16_384;

/// A rule's kind of route, and its name.
pub(super) type RuleKey = (String, String);

/// A rule's key.
pub(super) fn key(name: &RouteName) -> RuleKey {
    (name.kind.name().to_owned(), name.to_string())
}

/// Counts of the rules of the page that a query asks for. A proxy has the routes of its Gateway alone, so its page holds at least those
/// of the controller's page that it serves, as far as a page goes.
pub(super) async fn counts(head: &Parts, gatherer: &Gatherer, selection: &Selection) -> HashMap<RuleKey, RuleFigures> {
    let query = head.uri.query().unwrap_or_default();
    let kept = query.split('&').filter(|pair| pair.starts_with("search=") || pair.starts_with("problems="));
    let path = kept.fold(format!("/routes?limit={MAX_LIMIT}"), |path, pair| path + "&" + pair);
    let proxies = gatherer.selected(selection).await;
    let mut counts = HashMap::new();
    gatherer
        .ask(&proxies, &Question::get(path, MAX_ANSWER), |_, answer| {
            let document = answer.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            add(&mut counts, &document.unwrap_or_default());
        })
        .await;
    counts
}

fn add(counts: &mut HashMap<RuleKey, RuleFigures>, document: &Value) {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for route in list(&document["routes"]) {
        for rule in list(&route["rules"]) {
            let (Some(kind), Some(name)) = (route["kind"].as_str(), rule["name"].as_str()) else { continue };
            let key = (kind.to_owned(), name.to_owned());
            if counts.len() >= MAX_RULES && !counts.contains_key(&key) {
                continue;
            }
            let count = |value: &Value| value.as_u64().unwrap_or(0);
            let sum = counts.entry(key).or_default();
            sum.requests += count(&rule["requests"]);
            sum.errors += count(&rule["errors"]);
            sum.client_errors += count(&rule["clientErrors"]);
            sum.ttft_seconds += rule["ttft"]["sum"].as_f64().unwrap_or(0.0);
            sum.ttft_count += count(&rule["ttft"]["count"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counts_of_a_rule_are_those_of_all_proxies() {
        let page = |requests: u64, errors: u64| {
            let rule = json!({
                "name": "default/web/rule/0", "requests": requests, "errors": errors, "clientErrors": 1,
                "ttft": { "sum": 0.5, "count": requests },
            });
            json!({ "routes": [{ "kind": "HTTPRoute", "name": "default/web", "rules": [rule] }] })
        };
        let mut counts = HashMap::new();
        for document in [page(3, 1), page(4, 0), json!({}), json!({ "routes": "none" })] {
            add(&mut counts, &document);
        }
        let sum = counts[&("HTTPRoute".to_owned(), "default/web/rule/0".to_owned())];
        assert_eq!((sum.requests, sum.errors, sum.client_errors, sum.ttft_seconds, sum.ttft_count), (7, 1, 2, 1.0, 7));
        assert_eq!(counts.len(), 1);
    }
}
