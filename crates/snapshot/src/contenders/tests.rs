use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;
use crate::{Action, HeaderMatch, HostPattern, Name, RouteKind, RouteName, RulePolicy, ValueMatch};

fn rule(place: u16) -> Arc<Rule> {
    let route = RouteName { kind: RouteKind::Http, name: Name::new("default", "web"), rule: place, rule_name: None };
    Arc::new(Rule {
        route,
        filters: Arc::default(),
        action: Action::Fail(crate::Failure("none".into())),
        policy: Arc::new(RulePolicy::default()),
        session: None,
        needs_body: false,
        numbered_matches: Box::default(),
    })
}

fn entry(place: u16, path: &str, conditions: Conditions) -> RouteMatch {
    RouteMatch { path: PathMatch::Prefix(path.into()), conditions: conditions.shared(), rule: rule(place) }
}

fn header(name: &'static str, value: &str) -> Conditions {
    let value = ValueMatch::Exact(value.into());
    Conditions { headers: vec![HeaderMatch { name: HeaderName::from_static(name), value }], ..Conditions::default() }
}

fn table() -> RouteTable {
    let model = Conditions { model: Some(ValueMatch::Exact("qwen".into())), ..Conditions::default() };
    let entries = vec![
        entry(0, "/v1/chat", Conditions { method: Some(Method::GET), ..Conditions::default() }),
        entry(1, "/v1", header("x-team", "secret")),
        entry(2, "/v1", model),
        entry(3, "", Conditions::default()),
        entry(4, "/other", Conditions::default()),
    ];
    RouteTable::from_iter([(None::<HostPattern>, entries)])
}

fn told(table: &RouteTable, request: &KnownRequest<'_>, taken: Option<&Rule>) -> Vec<(u16, String)> {
    let contenders = table.contenders(request, taken, 99);
    let why = |it: Contender<'_>| (it.entry.rule.route.rule, it.miss.map_or("taken".to_owned(), |miss| miss.to_string()));
    let mut all: Vec<_> = contenders.map(why).collect();
    all.sort();
    all
}

fn request<'a>(rest: Option<(&'a HeaderMap, &'a str)>, model: Option<&'a str>) -> KnownRequest<'a> {
    KnownRequest { host: "a", method: &Method::POST, path: "/v1/chat/completions", rest, model, base_model: None }
}

#[test]
fn each_loser_has_the_condition_that_it_lost_by() {
    let table = table();
    let headers = HeaderMap::new();
    let all = told(&table, &request(Some((&headers, "")), Some("qwen")), None);
    let expected = [
        (0, "the method is not GET"),
        (1, "the header x-team is missing or has another value"),
        (2, "taken"),
        (3, "it matches too, and comes later in the order of precedence"),
        (4, "the path is another"),
    ];
    assert_eq!(all, expected.map(|(rule, why)| (rule, why.to_owned())));
    let all = told(&table, &request(Some((&headers, "")), None), None);
    assert_eq!((all[2].1.as_str(), all[3].1.as_str()), ("the model is another, or none", "taken"));
    let headers = HeaderMap::from_iter([(HeaderName::from_static("x-team"), HeaderValue::from_static("secret"))]);
    assert_eq!(told(&table, &request(Some((&headers, "")), None), None)[1].1, "taken");
}

#[test]
fn a_match_before_the_taken_one_lost_by_what_is_not_known() {
    let table = table();
    let taken = table.entries().find(|entry| entry.rule.route.rule == 3).unwrap();
    let all = told(&table, &request(None, None), Some(&taken.rule));
    assert_eq!(all[1].1, "the header x-team is missing or has another value");
    assert_eq!((all[2].1.as_str(), all[3].1.as_str()), ("the model is another, or none", "taken"));
}

#[test]
fn a_later_match_is_not_said_to_match_where_its_headers_are_not_known() {
    let entries = vec![
        entry(0, "/v1/chat", Conditions::default()),
        entry(1, "/v1", header("x-team", "secret")),
        entry(2, "", Conditions::default()),
    ];
    let table = RouteTable::from_iter([(None::<HostPattern>, entries)]);
    let taken = table.entries().find(|entry| entry.rule.route.rule == 0).unwrap();
    let all = told(&table, &request(None, None), Some(&taken.rule));
    let expected =
        ["taken", "it comes later in the order of precedence", "it matches too, and comes later in the order of precedence"];
    assert_eq!(all.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>(), expected);
}

#[test]
fn no_value_of_a_header_is_shown() {
    let shown = entry(0, "/v1", header("x-team", "secret")).to_string();
    assert_eq!(shown, "path /v1/*, header x-team");
}
