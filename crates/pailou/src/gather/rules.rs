//! Counts of routes' rules as each proxy told of them last: they do not fall while one is away, nor when one restarts or goes.

use std::collections::{BTreeMap, HashMap};

use pailou_proxy::metrics::RuleFigures;
use pailou_snapshot::Name;
use serde_json::Value;

use super::{ProxyList, ProxyTarget, Selection};

/// Most counts that are kept. Beyond them all are let go of, and come again with the next answers.
const MAX_KEPT: usize = 65_536;

/// A rule's kind of route, and its name.
pub(crate) type RuleKey = (String, String);

/// The counts, by proxy.
#[derive(Default)]
pub(crate) struct RuleCounts {
    proxies: BTreeMap<Name, OfProxy>,
    /// Counts of proxies that have gone, by Gateway.
    gone: BTreeMap<Name, HashMap<RuleKey, RuleFigures>>,
}

struct OfProxy {
    target: ProxyTarget,
    rules: HashMap<RuleKey, Counted>,
}

/// Counts of a rule at one proxy.
#[derive(Default)]
struct Counted {
    last: RuleFigures,
    /// Those of its former processes.
    former: RuleFigures,
}

impl RuleCounts {
    /// Keeps of proxies that are listed no longer the counts alone. Those behind the end of a list that is cut off may be there yet.
    pub(crate) fn retain(&mut self, list: &ProxyList) {
        let end = list.proxies.last().filter(|_| list.omitted > 0).map(|proxy| &proxy.name);
        let is_there = |name: &Name| list.proxies.iter().any(|proxy| proxy.name == *name) || end.is_some_and(|end| name > end);
        for (_, of) in self.proxies.extract_if(.., |name, _| !is_there(name)) {
            let gone = self.gone.entry(of.target.gateway).or_default();
            for (key, counted) in of.rules {
                let sum = gone.entry(key).or_default();
                add(sum, &counted.last);
                add(sum, &counted.former);
            }
        }
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
        if self.kept() >= MAX_KEPT {
            *self = Self::default();
        }
        let of = self.proxies.entry(proxy.name.clone());
        let of = of.or_insert_with(|| OfProxy { target: proxy.clone(), rules: HashMap::new() });
        let counted = of.rules.entry(key).or_default();
        // A process that began anew counts from none.
        if figures.requests < counted.last.requests || figures.ttft_count < counted.last.ttft_count {
            add(&mut counted.former, &counted.last);
        }
        counted.last = figures;
    }

    fn kept(&self) -> usize {
        self.proxies.values().map(|of| of.rules.len()).chain(self.gone.values().map(HashMap::len)).sum()
    }

    /// The counts of a rule at the selected proxies together.
    pub(crate) fn sum(&self, selection: &Selection, key: &RuleKey) -> RuleFigures {
        let mut sum = RuleFigures::default();
        for counted in self.proxies.values().filter(|of| selection.has(&of.target)).filter_map(|of| of.rules.get(key)) {
            add(&mut sum, &counted.last);
            add(&mut sum, &counted.former);
        }
        let is_selected = |gateway: &Name| {
            *selection == Selection::All || matches!(selection, Selection::Gateway(selected) if selected == gateway)
        };
        let gone = self.gone.iter().filter(|(gateway, _)| is_selected(gateway));
        gone.filter_map(|(_, rules)| rules.get(key)).for_each(|figures| add(&mut sum, figures));
        sum
    }
}

fn add(sum: &mut RuleFigures, figures: &RuleFigures) {
    sum.requests += figures.requests;
    sum.errors += figures.errors;
    sum.client_errors += figures.client_errors;
    sum.ttft_seconds += figures.ttft_seconds;
    sum.ttft_count += figures.ttft_count;
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
        // It restarts, and goes at last.
        counts.take(&proxy("b"), &page(1, 0));
        assert_eq!(counts.sum(&Selection::Proxy(Name::new("default", "b")), &key).requests, 5);
        let list =
            |names: &[&str], omitted| ProxyList { proxies: names.iter().map(|name| proxy(name)).collect(), omitted, problem: None };
        counts.retain(&list(&["a"], 1));
        assert_eq!(counts.sum(&Selection::Proxy(Name::new("default", "b")), &key).requests, 5, "it may be there");
        counts.retain(&list(&["a"], 0));
        assert_eq!(counts.sum(&Selection::Proxy(Name::new("default", "b")), &key).requests, 0);
        assert_eq!(counts.sum(&Selection::All, &key).requests, 8);
        let of = |gateway: &str| counts.sum(&Selection::Gateway(Name::new("default", gateway)), &key).requests;
        assert_eq!((of("g"), of("h")), (8, 0));
    }

    #[test]
    fn counts_are_bounded() {
        let mut counts = RuleCounts::default();
        for at in 0..=MAX_KEPT {
            counts.proxies.entry(proxy("a").name).or_insert_with(|| OfProxy { target: proxy("a"), rules: HashMap::new() });
            let rules = &mut counts.proxies.get_mut(&proxy("a").name).unwrap().rules;
            rules.insert(("HTTPRoute".to_owned(), at.to_string()), Counted::default());
        }
        counts.put(&proxy("b"), ("HTTPRoute".to_owned(), "x".to_owned()), RuleFigures::default());
        assert_eq!(counts.kept(), 1);
    }
}
