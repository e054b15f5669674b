//! A controller's answers for all proxies together: `/receipts`, `/explain` and `/limits`. Behind the [guard](crate::admin::guard).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Method, Response, StatusCode,
    body::{Bytes, Incoming},
    http::request::Parts,
};
use pailou_snapshot::Name;
use serde_json::{Value, json};
use tokio::time;

use super::{
    body::AdminBody,
    proxies_stream, query,
    receipts_page::{MAX_LIMIT, ReceiptQuery},
    requests::{BODY_TIMEOUT, MAX_DOCUMENT, TRACE_TIMEOUT, is_of_requests},
    response::{content, json as document, only, sentence, text},
};
use crate::gather::{
    Gatherer, ProxyTarget, Question, Selection,
    tail::{MAX_VIEWERS, Tail, name_proxy},
};

/// Longest answer with a list, in bytes.
const MAX_LIST: usize = 4 << 20;
/// Counters of a proxy that can be paged through.
const MAX_COUNTERS: usize = 1000;
/// Gateways that a request is explained for, and proxies of each that are asked for it, one after the other.
const MAX_GATEWAYS: usize = 16;
const MAX_ATTEMPTS: usize = 3;
/// Reason that a number of a receipt selects none here.
const NO_AFTER: &str =
    "after: each proxy numbers its own receipts. Follow /receipts/stream with Last-Event-ID, or ask a proxy itself\n";

/// Whether a path is answered here.
pub(super) fn is_of_proxies(path: &str) -> bool {
    path == "/limits" || is_of_requests(path)
}

/// Proxies that a query selects.
pub(super) fn selection(query: &str) -> Selection {
    let value = |name| query::value(query, name);
    Selection::of(value("gateway").as_deref(), value("proxy").as_deref())
}

/// Answers a request that was admitted.
pub(super) async fn answer(head: &Parts, body: Incoming, gatherer: &Arc<Gatherer>) -> Response<AdminBody> {
    let path = head.uri.path();
    if path == "/explain" {
        return explain(head, body, gatherer).await;
    }
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return only("GET, HEAD");
    }
    let query = head.uri.query().unwrap_or_default();
    match path.strip_prefix("/receipts") {
        None => limits(query, gatherer).await,
        Some("/next") => next(query, gatherer).await,
        Some("/stream") if head.method == Method::HEAD => content("text/event-stream", AdminBody::text("")),
        Some("/stream") => match ReceiptQuery::of_query(query) {
            Err(message) => text(StatusCode::BAD_REQUEST, message),
            Ok(wanted) => match Tail::view(gatherer) {
                Some(viewer) => {
                    Tail::begin(gatherer).await;
                    let last = head.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
                    let events = proxies_stream::stream(gatherer, viewer, selection(query), wanted.filter, last);
                    content("text/event-stream", AdminBody::events(events))
                }
                None => {
                    sentence(StatusCode::SERVICE_UNAVAILABLE, &format_args!("{MAX_VIEWERS} viewers follow the receipts already"))
                }
            },
        },
        // Each proxy counts its own: one number is another receipt at each.
        Some("") if query::value(query, "after").is_some() => text(StatusCode::BAD_REQUEST, NO_AFTER),
        Some("") => match ReceiptQuery::of_query(query) {
            Ok(wanted) => receipts(query, &wanted, gatherer).await,
            Err(message) => text(StatusCode::BAD_REQUEST, message),
        },
        Some(_) => one_receipt(head, gatherer).await,
    }
}

/// The newest receipts of the selected proxies, and the number from which a stream goes on.
async fn receipts(query: &str, wanted: &ReceiptQuery, gatherer: &Arc<Gatherer>) -> Response<AdminBody> {
    let last = Tail::begin(gatherer).await;
    let proxies = gatherer.selected(&selection(query)).await;
    // Each proxy's newest are enough for the newest of all.
    let question = Question::get(format!("/receipts?{query}"), MAX_LIST);
    let (mut found, mut away) = (Vec::new(), Vec::new());
    gatherer
        .ask(&proxies, &question, |proxy, answer| match answer.ok().and_then(|bytes| list(&bytes, "receipts")) {
            Some(receipts) => {
                found.extend(receipts.into_iter().filter_map(|receipt| named(receipt, proxy)));
                found.sort_by(|one: &Value, other| other["time"].as_str().cmp(&one["time"].as_str()));
                found.truncate(wanted.limit.min(MAX_LIMIT));
            }
            None => away.push(proxy.name.to_string()),
        })
        .await;
    away.sort();
    let receipts: Vec<_> = found.iter().map(ToString::to_string).collect();
    let away = json!(away);
    document(format!(
        "{{\"schema\":\"pailou.receipts/v1\",\"last\":{last},\"away\":{away},\"receipts\":[\n{}\n]}}\n",
        receipts.join(",\n")
    ))
}

/// A list of an answer.
fn list(bytes: &[u8], name: &str) -> Option<Vec<Value>> {
    let mut document: Value = serde_json::from_slice(bytes).ok()?;
    document[name].as_array_mut().map(std::mem::take)
}

fn named(mut document: Value, proxy: &ProxyTarget) -> Option<Value> {
    name_proxy(&mut document, proxy)?;
    Some(document)
}

/// A receipt, whichever proxy has it.
async fn one_receipt(head: &Parts, gatherer: &Gatherer) -> Response<AdminBody> {
    let proxies = gatherer.selected(&selection(head.uri.query().unwrap_or_default())).await;
    let question = Question::get(head.uri.path(), MAX_LIST);
    first(proxies, &question, gatherer, (StatusCode::NOT_FOUND, "no proxy that answers has a receipt of this id\n")).await
}

/// The receipt of the next request that meets an expression, at whichever proxy.
async fn next(query: &str, gatherer: &Gatherer) -> Response<AdminBody> {
    let proxies = gatherer.selected(&selection(query)).await;
    let question = Question { deadline: TRACE_TIMEOUT, ..Question::get(format!("/receipts/next?{query}"), MAX_LIST) };
    let none = "no such request has come and ended within 4 minutes, no proxy answers, or the expression is none\n";
    first(proxies, &question, gatherer, (StatusCode::GATEWAY_TIMEOUT, none)).await
}

async fn first(
    proxies: Vec<ProxyTarget>,
    question: &Question,
    gatherer: &Gatherer,
    none: (StatusCode, &'static str),
) -> Response<AdminBody> {
    let found = gatherer.first(proxies, question).await;
    match found.and_then(|(proxy, bytes)| named(serde_json::from_slice(&bytes).ok()?, &proxy)) {
        Some(receipt) => document(format!("{receipt}\n")),
        None => text(none.0, none.1),
    }
}

/// Counters of the selected proxies, each of which counts for itself.
async fn limits(query: &str, gatherer: &Gatherer) -> Response<AdminBody> {
    let page = super::limits_page::LimitsPage::of_query(query);
    let wanted =
        super::limits_page::LimitsPage { offset: 0, limit: (page.offset + page.limit + 1).min(MAX_COUNTERS), ..page.clone() };
    let proxies = gatherer.selected(&selection(query)).await;
    let question = Question::get(format!("/limits?{}", wanted.query()), MAX_LIST);
    let (mut found, mut away) = (Vec::new(), Vec::new());
    let key = |row: &Value| ["rule", "client", "proxy"].map(|name| row[name].as_str().unwrap_or_default().to_owned());
    gatherer
        .ask(&proxies, &question, |proxy, answer| match answer.ok().and_then(|bytes| list(&bytes, "counters")) {
            Some(counters) => {
                found.extend(counters.into_iter().filter_map(|counter| named(counter, proxy)));
                found.sort_by_cached_key(key);
                found.truncate(page.offset + page.limit + 1);
            }
            None => away.push(proxy.name.to_string()),
        })
        .await;
    away.sort();
    let mut rest = found.into_iter().skip(page.offset);
    let counters: Vec<Value> = rest.by_ref().take(page.limit).collect();
    let next = rest.next().map(|_| page.offset + counters.len());
    document(super::state::pretty(&json!({"counters": counters, "next": next, "away": away})))
}

/// Explains a request that nobody sends, by a proxy of each selected Gateway: the first whose rules serve it.
async fn explain(head: &Parts, body: Incoming, gatherer: &Gatherer) -> Response<AdminBody> {
    if head.method != Method::POST {
        return only("POST");
    }
    let collected = time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_DOCUMENT).collect()).await;
    let Ok(Ok(asked)) = collected else {
        return text(StatusCode::PAYLOAD_TOO_LARGE, "the document is too large, or too slow\n");
    };
    let proxies = gatherer.selected(&selection(head.uri.query().unwrap_or_default())).await;
    let question =
        Question { document: Some(asked.to_bytes()), deadline: Duration::from_secs(5), ..Question::get("/explain", MAX_LIST) };
    let mut waiting = by_gateway(proxies, |proxy| gatherer.is_away(proxy));
    let (mut explanations, mut refusals) = (Vec::new(), Vec::new());
    for _ in 0..MAX_ATTEMPTS {
        let next: Vec<_> = waiting.values_mut().filter_map(VecDeque::pop_front).collect();
        gatherer
            .ask(&next, &question, |proxy, answer| match answer.map(|bytes| explanation(&bytes, proxy)) {
                Ok(Some(document)) => {
                    waiting.remove(&proxy.gateway);
                    explanations.push(document);
                }
                Ok(None) => refusals.push(format!("{}: its answer is no explanation", proxy.name)),
                Err(failure) => refusals.push(format!("{}: {}", proxy.name, failure.why)),
            })
            .await;
    }
    explanations.sort_by_key(|document| (!document["problem"].is_null(), document["gateway"].as_str().map(str::to_owned)));
    refusals.sort();
    match (explanations.into_iter().next(), refusals.first()) {
        (Some(mut best), _) => {
            best["refusals"] = json!(refusals);
            document(super::state::pretty(&best))
        }
        (None, Some(refusal)) => sentence(StatusCode::BAD_GATEWAY, refusal),
        (None, None) => text(StatusCode::SERVICE_UNAVAILABLE, "there is no proxy to ask\n"),
    }
}

/// Proxies of the first Gateways, those that are not away first.
fn by_gateway(proxies: Vec<ProxyTarget>, is_away: impl Fn(&ProxyTarget) -> bool) -> BTreeMap<Name, VecDeque<ProxyTarget>> {
    let mut gateways: BTreeMap<Name, VecDeque<ProxyTarget>> = BTreeMap::new();
    let (away, others): (Vec<_>, Vec<_>) = proxies.into_iter().partition(|proxy| proxy.admin.is_none() || is_away(proxy));
    for proxy in others.into_iter().chain(away) {
        if gateways.len() < MAX_GATEWAYS || gateways.contains_key(&proxy.gateway) {
            gateways.entry(proxy.gateway.clone()).or_default().push_back(proxy);
        }
    }
    gateways
}

fn explanation(bytes: &Bytes, proxy: &ProxyTarget) -> Option<Value> {
    named(serde_json::from_slice(bytes).ok()?, proxy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_of_each_gateway_is_asked_first_that_answered_last() {
        let proxy = |gateway: &str, name: &str| ProxyTarget {
            gateway: Name::new("default", gateway),
            name: Name::new("default", name),
            admin: Some(([127, 0, 0, 1], 1).into()),
        };
        // By the names of the pods, Gateways alternate.
        let list = vec![proxy("g", "a"), proxy("h", "b"), proxy("g", "c"), proxy("h", "d")];
        let sorted = by_gateway(list, |proxy| *proxy.name.name == *"a");
        let names: Vec<Vec<String>> =
            sorted.values().map(|proxies| proxies.iter().map(|proxy| proxy.name.to_string()).collect()).collect();
        assert_eq!(names, [["default/c", "default/a"], ["default/b", "default/d"]]);
        let many = (0..40).map(|at| proxy(&format!("g{at}"), &format!("p{at}"))).collect();
        assert_eq!(by_gateway(many, |_| false).len(), MAX_GATEWAYS);
    }
}
