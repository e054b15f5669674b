//! Counts of rules, of all proxies together, for a controller's `/routes`.

use std::{collections::BTreeSet, time::Instant};

use serde_json::{Value, json};

use super::{object_rows::MAX_LIMIT, state::pretty};
use crate::gather::{Gatherer, Question, RuleCounts, Selection};

/// Longest answer, in bytes.
const MAX_ANSWER: usize = 4 << 20;
/// Names of one question: routes of all kinds may have each, and all of them are to fit a page.
const MAX_NAMES: usize = 40;

/// A page of a controller's routes with the counts of the selected proxies, and the names of those that did not answer: what these said
/// last counts.
pub(super) async fn with_counts(page: &str, gatherer: &Gatherer, selection: &Selection) -> Option<String> {
    let mut page: Value = serde_json::from_str(page).ok()?;
    let all = gatherer.proxies().await;
    gatherer.rules.lock().retain(&all, Instant::now());
    let proxies: Vec<_> = all.proxies.iter().filter(|proxy| selection.has(proxy)).cloned().collect();
    let mut away = BTreeSet::new();
    for path in paths(&page) {
        let question = Question::get(path, MAX_ANSWER);
        gatherer
            .ask(&proxies, &question, |proxy, answer| match answer.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
                Some(document) => gatherer.rules.lock().take(proxy, &document),
                None => {
                    away.insert(proxy.name.to_string());
                }
            })
            .await;
    }
    fill(&mut page, &gatherer.rules.lock(), selection);
    page["away"] = json!(away);
    Some(pretty(&page))
}

/// Questions for the routes of a page, by their names: a proxy's own pages begin and end elsewhere, as it has fewer routes.
fn paths(page: &Value) -> Vec<String> {
    let routes = page["routes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: BTreeSet<&str> = routes.iter().filter_map(|route| route["name"].as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let path = |names: &[&str]| {
        names.iter().fold(format!("/routes?limit={MAX_LIMIT}"), |mut path, name| {
            path.push_str("&name=");
            for byte in name.bytes() {
                match byte {
                    b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' => path.push(char::from(byte)),
                    _ => path.push_str(&format!("%{byte:02X}")),
                }
            }
            path
        })
    };
    names.chunks(MAX_NAMES).map(path).collect()
}

fn fill(page: &mut Value, counts: &RuleCounts, selection: &Selection) {
    for route in page["routes"].as_array_mut().into_iter().flatten() {
        let kind = route["kind"].as_str().unwrap_or_default().to_owned();
        for rule in route["rules"].as_array_mut().into_iter().flatten() {
            let sum = counts.sum(selection, &(kind.clone(), rule["name"].as_str().unwrap_or_default().to_owned()));
            rule["requests"] = sum.requests.into();
            rule["errors"] = sum.errors.into();
            rule["clientErrors"] = sum.client_errors.into();
            rule["ttft"] = json!({"sum": sum.ttft_seconds, "count": sum.ttft_count});
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::object_rows::PageQuery;

    #[test]
    fn proxies_are_asked_by_the_names_of_the_page() {
        let routes: Vec<_> =
            (0..90).map(|at| json!({"kind": "HTTPRoute", "name": format!("a/route-{at:02}"), "rules": []})).collect();
        let paths = paths(&json!({"routes": routes, "next": 300}));
        assert_eq!(paths.len(), 3);
        assert!(paths[0].starts_with("/routes?limit=200&name=a%2Froute-00&name=a%2Froute-01&"), "{}", paths[0]);
        let query = PageQuery::of_query(paths[2].split_once('?').unwrap().1);
        assert!(query.names("a/route-80") && query.names("a/route-89") && !query.names("a/route-79"));
        assert!(PageQuery::of_query("limit=1").names("any"));
    }
}
