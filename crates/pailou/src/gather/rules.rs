//! Counts of routes' rules as each proxy told of them last: they do not fall while one is away, nor when one restarts or goes, and answers
//! that come late change nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use pailou_proxy::metrics::RuleFigures;
use pailou_snapshot::Name;
use serde_json::Value;

use super::{ProxyList, ProxyTarget, Selection};

/// Most counts that are kept. Beyond them all are let go of, and come again with the next answers.
const MAX_KEPT: usize = 65_536;
/// Time for which the counts of a proxy that is listed no longer stay its own: it may be listed again, and its answers be under way.
const UNLISTED_KEPT: Duration = Duration::from_secs(300);
/// Former processes of a proxy that are known by their names.
const MAX_FORMER: usize = 8;

/// A rule's kind of route, and its name.
pub(crate) type RuleKey = (String, String);

/// The counts, by proxy.
#[derive(Default)]
pub(crate) struct RuleCounts {
    proxies: BTreeMap<Name, OfProxy>,
    /// Proxies of the last list.
    listed: BTreeSet<Name>,
    /// Counts of proxies that have gone, by Gateway.
    gone: BTreeMap<Name, HashMap<RuleKey, RuleFigures>>,
}

struct OfProxy {
    target: ProxyTarget,
    /// Its process, as it names itself; those of former versions do not.
    process: Option<String>,
    /// Its former processes, the last ones.
    former: Vec<String>,
    /// Time since which it is not listed.
    unlisted: Option<Instant>,
    rules: HashMap<RuleKey, Counted>,
}

/// Counts of a rule at one proxy.
#[derive(Default)]
struct Counted {
    last: RuleFigures,
    /// Age of the process at that answer, in seconds.
    age: f64,
    /// Those of its former processes, and of series that made room.
    former: RuleFigures,
}

impl RuleCounts {
    /// Notes which proxies there are: those that have gone for long leave their counts to their Gateway. Those behind the end of a list
    /// that is cut off may be there yet.
    pub(crate) fn retain(&mut self, list: &ProxyList, now: Instant) {
        let end = list.proxies.last().filter(|_| list.omitted > 0).map(|proxy| &proxy.name);
        self.listed = list.proxies.iter().map(|proxy| proxy.name.clone()).collect();
        for (name, of) in &mut self.proxies {
            let is_there = self.listed.contains(name) || end.is_some_and(|end| name > end);
            of.unlisted = if is_there { None } else { of.unlisted.or(Some(now)) };
        }
        self.fold(|unlisted| now.saturating_duration_since(unlisted) >= UNLISTED_KEPT);
    }

    /// Keeps of proxies that are listed no longer, and chosen by the time since when, the counts alone.
    fn fold(&mut self, is_chosen: impl Fn(Instant) -> bool) {
        for (_, of) in self.proxies.extract_if(.., |_, of| of.unlisted.is_some_and(&is_chosen)) {
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
        // The counts of one that is known no longer are its Gateway's by now.
        if !self.proxies.contains_key(&proxy.name) && !self.listed.contains(&proxy.name) {
            return;
        }
        let (process, age) = (document["process"].as_str(), document["uptimeSeconds"].as_f64().unwrap_or_default());
        let is_former = |of: &mut OfProxy| !of.follow(process);
        if self.proxies.get_mut(&proxy.name).is_some_and(is_former) {
            return;
        }
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for route in list(&document["routes"]) {
            for rule in list(&route["rules"]) {
                let (Some(kind), Some(name)) = (route["kind"].as_str(), rule["name"].as_str()) else { continue };
                self.put((proxy, process), (kind.to_owned(), name.to_owned()), (age, figures(&rule)));
            }
        }
    }

    fn put(&mut self, (proxy, process): (&ProxyTarget, Option<&str>), key: RuleKey, (age, figures): (f64, RuleFigures)) {
        if self.kept() >= MAX_KEPT {
            self.fold(|_| true);
        }
        if self.kept() >= MAX_KEPT {
            *self = Self { listed: std::mem::take(&mut self.listed), ..Self::default() };
        }
        let of = self.proxies.entry(proxy.name.clone()).or_insert_with(|| OfProxy::new(proxy, process));
        let counted = of.rules.entry(key).or_default();
        // Two viewers' answers may cross.
        if age < counted.age {
            return;
        }
        if figures.requests < counted.last.requests || figures.ttft_count < counted.last.ttft_count {
            // Ages are rounded to milliseconds: answers of the same one may have crossed, too.
            if process.is_some() && age == counted.age {
                return;
            }
            // A rule without requests may have made room for others, and counts from none when some come.
            add(&mut counted.former, &counted.last);
        }
        (counted.last, counted.age) = (figures, age);
    }

    fn kept(&self) -> usize {
        self.proxies.values().map(|of| of.rules.len()).chain(self.gone.values().map(HashMap::len)).sum()
    }

    /// The counts of a rule at the selected proxies together.
    pub(crate) fn sum(&self, selection: &Selection, key: &RuleKey) -> RuleFigures {
        let mut sum = RuleFigures::default();
        let is_selected = |gateway: &Name| {
            *selection == Selection::All || matches!(selection, Selection::Gateway(selected) if selected == gateway)
        };
        let has = |of: &&OfProxy| match of.unlisted {
            None => selection.has(&of.target),
            Some(_) => is_selected(&of.target.gateway),
        };
        for counted in self.proxies.values().filter(has).filter_map(|of| of.rules.get(key)) {
            add(&mut sum, &counted.last);
            add(&mut sum, &counted.former);
        }
        let gone = self.gone.iter().filter(|(gateway, _)| is_selected(gateway));
        gone.filter_map(|(_, rules)| rules.get(key)).for_each(|figures| add(&mut sum, figures));
        sum
    }
}

impl OfProxy {
    fn new(target: &ProxyTarget, process: Option<&str>) -> Self {
        let (process, rules) = (process.map(ToOwned::to_owned), HashMap::new());
        Self { target: target.clone(), process, former: Vec::new(), unlisted: None, rules }
    }

    /// Notes the process that an answer is of: another one counts from none. Gives back whether the answer is not a former one's.
    fn follow(&mut self, process: Option<&str>) -> bool {
        if self.process.as_deref() == process {
            return true;
        }
        if process.is_some_and(|process| self.former.iter().any(|former| former == process)) {
            return false;
        }
        let former = std::mem::replace(&mut self.process, process.map(ToOwned::to_owned));
        self.former.extend(former);
        if self.former.len() > MAX_FORMER {
            self.former.remove(0);
        }
        for counted in self.rules.values_mut() {
            add(&mut counted.former, &counted.last);
            (counted.last, counted.age) = (RuleFigures::default(), 0.0);
        }
        true
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

    fn key() -> RuleKey {
        ("HTTPRoute".to_owned(), "default/web/rule/0".to_owned())
    }

    fn page(process: &str, age: f64, requests: u64, errors: u64) -> Value {
        let rule = json!({
            "name": "default/web/rule/0", "requests": requests, "errors": errors, "clientErrors": 1,
            "ttft": { "sum": 0.5, "count": requests },
        });
        let routes = json!([{ "kind": "HTTPRoute", "name": "default/web", "rules": [rule] }]);
        json!({ "process": process, "uptimeSeconds": age, "routes": routes })
    }

    fn list(names: &[&str], omitted: usize) -> ProxyList {
        ProxyList { proxies: names.iter().map(|name| proxy(name)).collect(), omitted, problem: None }
    }

    /// Counts of listed proxies that have told nothing yet.
    fn counts(names: &[&str], now: Instant) -> RuleCounts {
        let mut counts = RuleCounts::default();
        counts.retain(&list(names, 0), now);
        counts
    }

    fn requests(counts: &RuleCounts, selection: &Selection) -> u64 {
        counts.sum(selection, &key()).requests
    }

    #[test]
    fn counts_of_a_rule_are_those_that_each_proxy_told_of_last() {
        let now = Instant::now();
        let mut counts = counts(&["a", "b"], now);
        for (name, document) in [
            ("a", page("a1", 1.0, 2, 0)),
            ("a", page("a1", 2.0, 3, 1)),
            ("b", page("b1", 1.0, 4, 0)),
            ("b", json!({"process": "b1", "uptimeSeconds": 2.0})),
            ("b", json!({"process": "b1", "uptimeSeconds": 2.0, "routes": "none"})),
        ] {
            counts.take(&proxy(name), &document);
        }
        let sum = counts.sum(&Selection::All, &key());
        assert_eq!((sum.requests, sum.errors, sum.client_errors, sum.ttft_seconds, sum.ttft_count), (7, 1, 2, 1.0, 7));
        let b = Selection::Proxy(Name::new("default", "b"));
        assert_eq!(requests(&counts, &b), 4);
        // It restarts, and goes at last.
        counts.take(&proxy("b"), &page("b2", 0.5, 1, 0));
        assert_eq!(requests(&counts, &b), 5);
        counts.retain(&list(&["a"], 1), now);
        assert_eq!(requests(&counts, &b), 5, "it may be there");
        for now in [now, now + UNLISTED_KEPT] {
            counts.retain(&list(&["a"], 0), now);
            assert_eq!(requests(&counts, &b), 0);
            assert_eq!(requests(&counts, &Selection::All), 8);
            let of = |gateway: &str| requests(&counts, &Selection::Gateway(Name::new("default", gateway)));
            assert_eq!((of("g"), of("h")), (8, 0));
        }
        assert_eq!(counts.proxies.len(), 1);
    }

    #[test]
    fn answers_that_cross_change_nothing() {
        let mut counts = counts(&["a"], Instant::now());
        for (document, expected) in [
            (page("a1", 5.0, 9, 0), 9),
            (page("a1", 4.0, 8, 0), 9),
            (page("a1", 5.0, 8, 0), 9),
            // The process before the one that has answered.
            (page("a2", 1.0, 2, 0), 11),
            (page("a1", 6.0, 10, 0), 11),
            (page("a2", 2.0, 3, 0), 12),
            // The rule has made room for others, and counts anew.
            (page("a2", 90.0, 1, 0), 13),
        ] {
            counts.take(&proxy("a"), &document);
            assert_eq!(requests(&counts, &Selection::All), expected, "{document}");
        }
    }

    #[test]
    fn a_proxy_that_has_gone_is_counted_once() {
        let now = Instant::now();
        let mut counts = counts(&["a", "b"], now);
        counts.take(&proxy("b"), &page("b1", 1.0, 4, 0));
        // An answer to another viewer is under way meanwhile.
        counts.retain(&list(&["a"], 0), now);
        counts.take(&proxy("b"), &page("b1", 2.0, 5, 0));
        assert_eq!(requests(&counts, &Selection::All), 5);
        // The list had left it out.
        counts.retain(&list(&["a", "b"], 0), now);
        counts.take(&proxy("b"), &page("b1", 3.0, 6, 0));
        assert_eq!(requests(&counts, &Selection::All), 6);
        for now in [now, now + UNLISTED_KEPT] {
            counts.retain(&list(&["a"], 0), now);
        }
        counts.take(&proxy("b"), &page("b1", 4.0, 7, 0));
        assert_eq!(requests(&counts, &Selection::All), 6);
    }

    #[test]
    fn a_proxy_of_a_former_version_is_counted_by_its_figures() {
        let mut counts = counts(&["a"], Instant::now());
        for (figures, expected) in [(9, 9), (2, 11), (3, 12)] {
            let mut page = page("", 0.0, figures, 0);
            page.as_object_mut().unwrap().retain(|name, _| name == "routes");
            counts.take(&proxy("a"), &page);
            assert_eq!(requests(&counts, &Selection::All), expected);
        }
    }

    #[test]
    fn counts_are_bounded() {
        let now = Instant::now();
        let put = |counts: &mut RuleCounts, proxy: &ProxyTarget, rule: &str| {
            counts.put(
                (proxy, None),
                ("HTTPRoute".to_owned(), rule.to_owned()),
                (0.0, RuleFigures { requests: 1, ..Default::default() }),
            );
        };
        let mut full = counts(&["a", "b", "c"], now);
        for at in 0..MAX_KEPT / 2 {
            put(&mut full, &proxy("a"), &at.to_string());
            put(&mut full, &proxy("b"), &at.to_string());
        }
        assert_eq!(full.kept(), MAX_KEPT);
        // Those that have gone become one.
        full.retain(&list(&["c"], 0), now);
        put(&mut full, &proxy("c"), "0");
        assert_eq!(
            (full.kept(), full.sum(&Selection::All, &("HTTPRoute".to_owned(), "0".to_owned())).requests),
            (MAX_KEPT / 2 + 1, 3)
        );
        for at in 1..=MAX_KEPT / 2 {
            put(&mut full, &proxy("c"), &at.to_string());
        }
        assert_eq!(full.kept(), 1);
    }
}
