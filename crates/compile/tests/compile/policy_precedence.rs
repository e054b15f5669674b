//! The policy that governs a rule is the one that Envoy Gateway's words ask for: random SecurityPolicies and BackendTrafficPolicies against a
//! second telling of precedence and merging.

use std::time::Duration;

use http::{HeaderMap, Method};
use pailou_api::{NamespaceName, parse::parse};
use pailou_compile::{
    Compiled, Settings, compile,
    store::{Entry, Store},
};
use pailou_snapshot::{Body, MatchOutcome, RequestView};
use proptest::prelude::*;
use serde_json::{Value, json};

const LISTENERS: [&str; 2] = ["a", "b"];
const ROUTES: [&str; 2] = ["r0", "r1"];
const RULES: [&str; 2] = ["one", "two"];

/// Kind of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Security,
    Traffic,
}

/// Target of a policy: a Gateway or a route, and perhaps a section of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    route: Option<&'static str>,
    section: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct Policy {
    kind: Kind,
    target: Target,
    age: u8,
    merge: Option<&'static str>,
    /// Two fields, which every kind has under names of its own.
    values: Values,
}

/// Settings of a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Values {
    first: Option<u32>,
    second: Option<u32>,
}

fn policy() -> impl Strategy<Value = Policy> {
    let kind = prop::sample::select(vec![Kind::Security, Kind::Traffic]);
    let route = prop::option::weighted(0.6, prop::sample::select(ROUTES.to_vec()));
    let target = (route, prop::option::of(0..2_usize)).prop_map(|(route, at)| {
        let sections = if route.is_some() { RULES } else { LISTENERS };
        Target { route, section: at.map(|at| sections[at]) }
    });
    let merge = prop::option::of(prop::sample::select(vec!["StrategicMerge", "JSONMerge"]));
    let values = (prop::option::of(20..90_u32), prop::option::of(20..90_u32)).prop_map(|(first, second)| Values { first, second });
    (kind, target, 0..3_u8, merge, values).prop_map(|(kind, target, age, merge, values)| {
        // Only policies of routes merge.
        let merge = merge.filter(|_| target.route.is_some());
        Policy { kind, target, age, merge, values }
    })
}

impl Policy {
    fn object(&self, at: usize) -> Value {
        let Values { first, second } = self.values;
        let (kind, mut spec) = match self.kind {
            Kind::Security => {
                let mut cors = json!({"allowOrigins": ["https://a.test"]});
                if let Some(seconds) = first {
                    cors["maxAge"] = format!("{seconds}s").into();
                }
                if let Some(number) = second {
                    cors["exposeHeaders"] = json!([format!("x-{number}")]);
                }
                ("SecurityPolicy", json!({"cors": cors}))
            }
            Kind::Traffic => {
                let mut timeout = json!({});
                if let Some(seconds) = first {
                    timeout["http"] = json!({"requestTimeout": format!("{seconds}s")});
                }
                if let Some(seconds) = second {
                    timeout["tcp"] = json!({"connectTimeout": format!("{seconds}s")});
                }
                ("BackendTrafficPolicy", json!({"timeout": timeout}))
            }
        };
        let (target, name) = self.target.route.map_or(("Gateway", "gw"), |route| ("HTTPRoute", route));
        let mut reference = json!({"group": "gateway.networking.k8s.io", "kind": target, "name": name});
        if let Some(section) = self.target.section {
            reference["sectionName"] = section.into();
        }
        spec["targetRefs"] = json!([reference]);
        if let Some(merge) = self.merge {
            spec["mergeType"] = merge.into();
        }
        json!({
            "apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": kind, "spec": spec,
            "metadata": {"name": format!("p{at:02}"), "creationTimestamp": format!("202{}-01-01T00:00:00Z", self.age)},
        })
    }
}

fn compiled(policies: &[Policy]) -> Compiled {
    let listener = |(at, name): (usize, &&str)| json!({"name": name, "protocol": "HTTP", "port": 8080 + at});
    let listeners: Vec<_> = LISTENERS.iter().enumerate().map(listener).collect();
    let mut objects = vec![json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gw"},
        "spec": {"gatewayClassName": "pailou", "listeners": listeners},
    })];
    for route in ROUTES {
        let rule = |name: &&str| json!({"name": name, "matches": [{"path": {"value": format!("/{route}/{name}")}}]});
        objects.push(json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": route},
            "spec": {"parentRefs": [{"name": "gw"}], "rules": RULES.iter().map(rule).collect::<Vec<_>>()},
        }));
    }
    objects.extend(policies.iter().enumerate().map(|(at, policy)| policy.object(at)));
    let text: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
    let parsed = parse(text.as_bytes(), "objects", &NamespaceName::try_from("default").unwrap());
    assert_eq!(parsed.errors, []);
    let mut store = Store::new();
    for decoded in parsed.objects {
        store.insert(Entry::new(decoded, "objects".into())).unwrap();
    }
    compile(&store, &Settings::default())
}

/// The policy of a kind that has a target: the oldest, then the first by name. The others are in conflict.
fn owner(policies: &[Policy], kind: Kind, target: Target) -> Option<&Policy> {
    let mut candidates: Vec<_> = policies.iter().filter(|policy| policy.kind == kind && policy.target == target).collect();
    // A stable order: names are those of places.
    candidates.sort_by_key(|policy| policy.age);
    candidates.first().copied()
}

/// Settings that govern a rule on a listener; `None` where no policy does.
fn expected(policies: &[Policy], kind: Kind, listener: &'static str, route: &'static str, rule: &'static str) -> Option<Values> {
    let of = |route, section| owner(policies, kind, Target { route, section });
    let parent = of(None, Some(listener)).or_else(|| of(None, None));
    match of(Some(route), Some(rule)).or_else(|| of(Some(route), None)) {
        None => parent.map(|policy| policy.values),
        Some(own) => {
            let parent = parent.filter(|_| own.merge.is_some()).map(|policy| policy.values).unwrap_or_default();
            Some(Values { first: own.values.first.or(parent.first), second: own.values.second.or(parent.second) })
        }
    }
}

/// Settings that the snapshot has, in the same form.
fn found(compiled: &Compiled, kind: Kind, at: usize, route: &str, rule: &str) -> Option<Values> {
    let listener = compiled.snapshot.ports[at].http("").unwrap();
    let (path, headers) = (format!("/{route}/{rule}"), HeaderMap::new());
    let view = RequestView { host: "", method: &Method::GET, path: &path, query: "", headers: &headers, body: Body::Unread };
    let MatchOutcome::Rule(entry) = listener.routes.find(&view) else { panic!("{path} is routed") };
    match kind {
        Kind::Security => entry.rule.filters.cors().map(|cors| Values {
            // The default of CORS.
            first: Some(cors.max_age).filter(|seconds| *seconds != 5),
            second: cors.expose_headers.first().map(|name| name[2..].parse().unwrap()),
        }),
        Kind::Traffic => {
            let timeouts = &entry.rule.policy.timeouts;
            let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap();
            let second = Some(timeouts.connect).filter(|connect| *connect != Duration::from_secs(10));
            Some(Values { first: timeouts.request.map(seconds), second: second.map(seconds) })
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_policy_that_governs_is_the_one_that_precedence_names(policies in prop::collection::vec(policy(), 0..12)) {
        let compiled = compiled(&policies);
        for (at, listener) in LISTENERS.into_iter().enumerate() {
            for (route, rule) in ROUTES.into_iter().flat_map(|route| RULES.map(|rule| (route, rule))) {
                for kind in [Kind::Security, Kind::Traffic] {
                    let expected = expected(&policies, kind, listener, route, rule);
                    // No policy, and one that sets nothing, give the same timeouts.
                    let expected = if kind == Kind::Traffic { Some(expected.unwrap_or_default()) } else { expected };
                    prop_assert_eq!(found(&compiled, kind, at, route, rule), expected, "{:?} {}/{}/{}", kind, listener, route, rule);
                }
            }
        }
    }
}
