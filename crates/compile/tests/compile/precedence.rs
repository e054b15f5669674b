//! The rule that is found is the one that Gateway API's words ask for: a table of random routes against a second telling of
//! the specification, written to be plain and not to be fast.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use pailou_api::{NamespaceName, parse::parse};
use pailou_compile::{
    Settings, compile,
    store::{Entry, Store},
};
use pailou_snapshot::{Body, Listener, MatchOutcome, RequestView};
use proptest::prelude::*;

const HOSTS: [&str; 5] = ["a.example.com", "b.a.example.com", "*.example.com", "*.a.example.com", "*.com"];
const ASKED: [&str; 6] = ["a.example.com", "b.a.example.com", "x.example.com", "example.com", "c.com", "other.org"];
const PATHS: [&str; 6] = ["/", "/v1", "/v1/", "/v1/x", "/v1x", "/v1/x/y"];
const VALUES: [&str; 2] = ["1", "2"];

#[derive(Clone, Debug)]
struct Match {
    exact: bool,
    path: &'static str,
    method: Option<&'static str>,
    header: Option<&'static str>,
    query: Option<&'static str>,
    model: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Route {
    hosts: Vec<&'static str>,
    age: u8,
    rules: Vec<Vec<Match>>,
}

#[derive(Clone, Debug)]
struct Request {
    host: &'static str,
    path: &'static str,
    method: &'static str,
    header: Option<&'static str>,
    query: Option<&'static str>,
    model: Option<&'static str>,
}

fn one_of<const N: usize>(values: [&'static str; N]) -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(values.to_vec())
}

fn maybe<const N: usize>(values: [&'static str; N]) -> impl Strategy<Value = Option<&'static str>> {
    prop::option::weighted(0.3, one_of(values))
}

fn matches() -> impl Strategy<Value = Match> {
    (any::<bool>(), one_of(PATHS), maybe(["GET", "POST"]), maybe(VALUES), maybe(VALUES), maybe(VALUES))
        .prop_map(|(exact, path, method, header, query, model)| Match { exact, path, method, header, query, model })
}

fn route() -> impl Strategy<Value = Route> {
    let hosts = prop::sample::subsequence(HOSTS.to_vec(), 0..=2);
    let rules = prop::collection::vec(prop::collection::vec(matches(), 1..=3), 1..=3);
    (hosts, 0..3_u8, rules).prop_map(|(hosts, age, rules)| Route { hosts, age, rules })
}

fn request() -> impl Strategy<Value = Request> {
    (one_of(ASKED), one_of(PATHS), one_of(["GET", "POST"]), maybe(VALUES), maybe(VALUES), maybe(VALUES))
        .prop_map(|(host, path, method, header, query, model)| Request { host, path, method, header, query, model })
}

fn yaml(routes: &[Route]) -> String {
    let mut text = String::from(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\n\
         spec: {gatewayClassName: pailou, listeners: [{name: http, protocol: HTTP, port: 80}]}\n",
    );
    for (place, route) in routes.iter().enumerate() {
        let rules: Vec<_> =
            route.rules.iter().map(|rule| serde_json::json!({"matches": rule.iter().map(json).collect::<Vec<_>>()})).collect();
        let object = serde_json::json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": format!("r{place}"), "creationTimestamp": format!("202{}-01-01T00:00:00Z", route.age)},
            "spec": {"parentRefs": [{"name": "gw"}], "hostnames": route.hosts, "rules": rules},
        });
        text.push_str(&format!("---\n{object}\n"));
    }
    text
}

fn json(one: &Match) -> serde_json::Value {
    let named = |name: &str, value: &Option<&str>| value.map(|value| serde_json::json!({"name": name, "value": value}));
    let headers: Vec<_> = [named("x-a", &one.header), named("X-Gateway-Model-Name", &one.model)].into_iter().flatten().collect();
    let mut out = serde_json::json!({
        "path": {"type": if one.exact { "Exact" } else { "PathPrefix" }, "value": one.path},
        "headers": headers,
        "queryParams": named("q", &one.query).into_iter().collect::<Vec<_>>(),
    });
    if let Some(method) = one.method {
        out["method"] = method.into();
    }
    out
}

fn listener(routes: &[Route]) -> std::sync::Arc<Listener> {
    let parsed = parse(yaml(routes).as_bytes(), "routes", &NamespaceName::try_from("default").unwrap());
    assert_eq!(parsed.errors, []);
    let mut store = Store::new();
    for decoded in parsed.objects {
        store.insert(Entry::new(decoded, "routes".into())).unwrap();
    }
    let compiled = compile(&store, &Settings::default());
    compiled.snapshot.ports[0].http("").unwrap().clone()
}

/// The rule by the words of the specification, as `(route, rule)`.
fn expected(routes: &[Route], request: &Request) -> Option<(usize, usize)> {
    let mut best: Option<(Rank, (usize, usize))> = None;
    for (place, route) in routes.iter().enumerate() {
        let any = [""];
        let hosts = if route.hosts.is_empty() { &any[..] } else { &route.hosts[..] };
        for host in hosts.iter().filter(|host| host_matches(host, request.host)) {
            for (rule, matches) in route.rules.iter().enumerate() {
                for one in matches.iter().filter(|one| one.holds(request)) {
                    let rank = Rank {
                        host: specificity(host),
                        exact: one.exact,
                        length: one.path.trim_end_matches('/').len() + usize::from(one.exact && one.path.ends_with('/')),
                        method: one.method.is_some(),
                        headers: usize::from(one.header.is_some()) + usize::from(one.model.is_some()),
                        query: usize::from(one.query.is_some()),
                        older: std::cmp::Reverse((route.age, place, rule)),
                    };
                    if best.as_ref().is_none_or(|(known, _)| rank > *known) {
                        best = Some((rank, (place, rule)));
                    }
                }
            }
        }
    }
    best.map(|(_, found)| found)
}

/// Greater wins, field by field.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    host: (u8, usize),
    exact: bool,
    length: usize,
    method: bool,
    headers: usize,
    query: usize,
    older: std::cmp::Reverse<(u8, usize, usize)>,
}

fn specificity(host: &str) -> (u8, usize) {
    match host {
        "" => (0, 0),
        wildcard if wildcard.starts_with('*') => (1, wildcard.len()),
        exact => (2, exact.len()),
    }
}

fn host_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        _ if pattern.is_empty() => true,
        Some(suffix) => host.ends_with(suffix) && host.len() > suffix.len(),
        None => pattern == host,
    }
}

impl Match {
    fn holds(&self, request: &Request) -> bool {
        let elements = |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let path = if self.exact { self.path == request.path } else { elements(request.path).starts_with(&elements(self.path)) };
        let same = |asked: Option<&str>, found: Option<&str>| asked.is_none() || asked == found;
        path && same(self.method, Some(request.method))
            && same(self.header, request.header)
            && same(self.query, request.query)
            && same(self.model, request.model)
    }
}

fn found(listener: &Listener, request: &Request, read: bool) -> Result<Option<(usize, usize)>, &'static str> {
    let mut headers = HeaderMap::new();
    if let Some(value) = request.header {
        headers.insert(HeaderName::from_static("x-a"), HeaderValue::from_static(value));
    }
    let query = request.query.map_or(String::new(), |value| format!("q={value}&q=other"));
    let method = Method::from_bytes(request.method.as_bytes()).unwrap();
    let body = if read { Body::Read { model: request.model, base_model: None } } else { Body::Unread };
    let view = RequestView { host: request.host, method: &method, path: request.path, query: &query, headers: &headers, body };
    match listener.routes.find(&view) {
        MatchOutcome::NeedsBody => Err("needs the body"),
        MatchOutcome::Nothing => Ok(None),
        MatchOutcome::Rule(entry) => {
            let name = &entry.rule.route;
            Ok(Some((name.name.name[1..].parse().unwrap(), usize::from(name.rule))))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_rule_found_is_the_one_the_specification_names(
        routes in prop::collection::vec(route(), 1..=5),
        requests in prop::collection::vec(request(), 20),
    ) {
        let listener = listener(&routes);
        for request in &requests {
            let expected = expected(&routes, request);
            prop_assert_eq!(found(&listener, request, true), Ok(expected), "{:?}", request);
            // Without the body the answer is the same, or a request for the body: never another rule.
            if let Ok(early) = found(&listener, request, false) {
                prop_assert_eq!(early, expected, "{:?} with its body undecodable", request);
            }
        }
    }
}
