//! Counts of routes' rules as each proxy told of them last: they do not fall while one is away.

use std::collections::{BTreeMap, HashMap};

use pailou_proxy::metrics::RuleFigures;
use pailou_snapshot::Name;
use serde_json::Value;

use super::{ProxyTarget, Selection};

/// Most counts that are kept. Beyond them all are let go of, and come again with the next answers.
const MAX_KEPT: usize = 65_536;

/// A rule's kind of route, and its name.
pub(crate) type RuleKey = (String, String);

/// The counts, by proxy.
#[derive(Default)]
pub(crate) struct RuleCounts(BTreeMap<Name, OfProxy>);

struct OfProxy {
    target: ProxyTarget,
    rules: HashMap<RuleKey, RuleFigures>,
}

impl RuleCounts {
    /// Forgets proxies that are listed no longer.
    pub(crate) fn retain(&mut self, listed: &[ProxyTarget]) {
        self.0.retain(|name, _| listed.iter().any(|proxy| proxy.name == *name));
    }

    /// Takes a proxy's page of routes in.
    pub(crate) fn take(&mut self, proxy: &ProxyTarget, document: &Value) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for route in list(&document["routes"]) {
            for rule in list(&route["rules"]) {
                let (Some(kind), Some(name)) = (route["kind"].as_str(), rule["name"].as_str()) else { continue };
                self.put(proxy, (kind.to_owned(), name.to_owned()), figures(&rule));
            }
        }
    }

    fn put(&mut self, proxy: &ProxyTarget, key: RuleKey, figures: RuleFigures) {
        if self.0.values().map(|of| of.rules.len()).sum::<usize>() >= MAX_KEPT {
            self.0.clear();
        }
        let of = self.0.entry(proxy.name.clone());
        of.or_insert_with(|| OfProxy { target: proxy.clone(), rules: HashMap::new() }).rules.insert(key, figures);
    }

    /// The counts of a rule at the selected proxies together.
    pub(crate) fn sum(&self, selection: &Selection, key: &RuleKey) -> RuleFigures {
        let mut sum = RuleFigures::default();
        for figures in self.0.values().filter(|of| selection.has(&of.target)).filter_map(|of| of.rules.get(key)) {
            sum.requests += figures.requests;
            sum.errors += figures.errors;
            sum.client_errors += figures.client_errors;
            sum.ttft_seconds += figures.ttft_seconds;
            sum.ttft_count += figures.ttft_count;
        }
        sum
    }
}

fn figures(rule: &Value) -> RuleFigures {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    RuleFigures {
        requests: count(&rule["requests"]),
        errors: count(&rule["errors"]),
        client_errors: count(&rule["clientErrors"]),
        ttft_seconds: rule["ttft"]["sum"].as_f64().unwrap_or(0.0),
        ttft_count: count(&rule["ttft"]["count"]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn proxy(name: &str) -> ProxyTarget {
        ProxyTarget { gateway: Name::new("default", "g"), name: Name::new("default", name), admin: None }
    }

    #[test]
    fn counts_of_a_rule_are_those_that_each_proxy_told_of_last() {
        let page = |requests: u64, errors: u64| {
            let rule = json!({
                "name": "default/web/rule/0", "requests": requests, "errors": errors, "clientErrors": 1,
                "ttft": { "sum": 0.5, "count": requests },
            });
            json!({ "routes": [{ "kind": "HTTPRoute", "name": "default/web", "rules": [rule] }] })
        };
        let (mut counts, key) = (RuleCounts::default(), ("HTTPRoute".to_owned(), "default/web/rule/0".to_owned()));
        for (name, document) in
            [("a", page(2, 0)), ("a", page(3, 1)), ("b", page(4, 0)), ("b", json!({})), ("b", json!({ "routes": "none" }))]
        {
            counts.take(&proxy(name), &document);
        }
        let sum = counts.sum(&Selection::All, &key);
        assert_eq!((sum.requests, sum.errors, sum.client_errors, sum.ttft_seconds, sum.ttft_count), (7, 1, 2, 1.0, 7));
        assert_eq!(counts.sum(&Selection::Proxy(Name::new("default", "b")), &key).requests, 4);
        counts.retain(&[proxy("a")]);
        assert_eq!(counts.sum(&Selection::All, &key).requests, 3);
    }

    #[test]
    fn counts_are_bounded() {
        let mut counts = RuleCounts::default();
        for at in 0..=MAX_KEPT {
            counts.0.entry(proxy("a").name).or_insert_with(|| OfProxy { target: proxy("a"), rules: HashMap::new() });
            let rules = &mut counts.0.get_mut(&proxy("a").name).unwrap().rules;
            rules.insert(("HTTPRoute".to_owned(), at.to_string()), RuleFigures::default());
        }
        counts.put(&proxy("b"), ("HTTPRoute".to_owned(), "x".to_owned()), RuleFigures::default());
        assert_eq!(counts.0.values().map(|of| of.rules.len()).sum::<usize>(), 1);
    }
}
