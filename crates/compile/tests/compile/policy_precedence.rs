//! The policy that governs a rule is the one that Envoy Gateway's words ask for: random SecurityPolicies and BackendTrafficPolicies, of Gateways,
//! ListenerSets, routes and their sections, against a second telling of precedence and merging; and statuses tell what is served.

use std::time::Duration;

use http::{HeaderMap, Method};
use pailou_api::{NamespaceName, ObjectKey, parse::parse};
use pailou_compile::{
    Compiled, Settings, compile,
    status::{Condition, ConditionStatus},
    store::{Entry, Store},
};
use pailou_snapshot::{Action, Body, HttpFilter, MatchOutcome, RequestView, Rule};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Listeners by port, and whether they are the ListenerSet's. It has one of a name that the Gateway has too.
const LISTENERS: [(bool, &str); 4] = [(false, "a"), (false, "b"), (true, "a"), (true, "c")];
const ROUTES: [&str; 2] = ["r0", "r1"];
const RULES: [&str; 2] = ["one", "two"];

/// Kind of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Security,
    Traffic,
}

/// Kind of an object that policies target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Gateway,
    ListenerSet,
    Route(&'static str),
}

/// Target of a policy: an object, and perhaps a section of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    holder: Holder,
    section: Option<&'static str>,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Security => "SecurityPolicy",
            Self::Traffic => "BackendTrafficPolicy",
        }
    }
}

#[derive(Clone, Debug)]
struct Policy {
    kind: Kind,
    target: Target,
    age: u8,
    merge: Option<&'static str>,
    /// Fields, which every kind has under names of its own.
    values: Values,
    /// A field has a value that cannot be had.
    is_broken: bool,
}

/// Settings of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Values {
    first: Option<u32>,
    second: Option<u32>,
    /// Requests of a BackendTrafficPolicy's limits.
    limits: Vec<u64>,
}

fn policy() -> impl Strategy<Value = Policy> {
    let kind = prop::sample::select(vec![Kind::Security, Kind::Traffic]);
    let holders = vec![Holder::Gateway, Holder::ListenerSet, Holder::Route("r0"), Holder::Route("r1")];
    let target = (prop::sample::select(holders), prop::option::of(0..2_usize)).prop_map(|(holder, at)| {
        let sections = match holder {
            Holder::Gateway => ["a", "b"],
            Holder::ListenerSet => ["a", "c"],
            Holder::Route(_) => RULES,
        };
        Target { holder, section: at.map(|at| sections[at]) }
    });
    let merge = prop::option::weighted(0.7, prop::sample::select(vec!["StrategicMerge", "JSONMerge"]));
    let limits = prop::collection::vec(1..1000_u64, 0..3);
    let values = (prop::option::of(20..90_u32), prop::option::of(20..90_u32), limits);
    (kind, target, 0..3_u8, merge, values, prop::bool::weighted(0.15)).prop_map(|(kind, target, age, merge, values, is_broken)| {
        // Only policies of routes merge, and only one kind has limits.
        let merge = merge.filter(|_| matches!(target.holder, Holder::Route(_)));
        let (first, second, mut limits) = values;
        limits.retain(|_| kind == Kind::Traffic);
        Policy { kind, target, age, merge, values: Values { first, second, limits }, is_broken }
    })
}

impl Policy {
    fn object(&self, at: usize) -> Value {
        let Values { first, second, ref limits } = self.values;
        let (kind, mut spec) = match self.kind {
            Kind::Security => {
                let mut cors = json!({"allowOrigins": ["https://a.test"]});
                if let Some(seconds) = first {
                    cors["maxAge"] = format!("{seconds}s").into();
                }
                if let Some(number) = second {
                    cors["exposeHeaders"] = json!([format!("x-{number}")]);
                }
                let mut spec = json!({"cors": cors});
                if self.is_broken {
                    spec["basicAuth"] = json!({"users": {"name": "missing"}});
                }
                ("SecurityPolicy", spec)
            }
            Kind::Traffic => {
                let mut timeout = json!({});
                if let Some(seconds) = first {
                    timeout["http"] = json!({"requestTimeout": format!("{seconds}s")});
                }
                if let Some(seconds) = second {
                    timeout["tcp"] = json!({"connectTimeout": format!("{seconds}s")});
                }
                let mut spec = json!({"timeout": timeout});
                if self.is_broken {
                    let body = json!({"type": "ValueRef", "valueRef": {"group": "", "kind": "ConfigMap", "name": "missing"}});
                    spec["responseOverride"] = json!([{"match": {"statusCodes": [{"value": 404}]}, "response": {"body": body}}]);
                }
                if !limits.is_empty() {
                    let rule = |requests: &u64| json!({"limit": {"requests": requests, "unit": "Hour"}});
                    spec["rateLimit"] = json!({"global": {"rules": limits.iter().map(rule).collect::<Vec<_>>()}});
                }
                ("BackendTrafficPolicy", spec)
            }
        };
        let (target, name) = match self.target.holder {
            Holder::Gateway => ("Gateway", "gw"),
            Holder::ListenerSet => ("ListenerSet", "set"),
            Holder::Route(route) => ("HTTPRoute", route),
        };
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
    let listeners = |is_set: bool| {
        let of = LISTENERS.iter().enumerate().filter(|(_, listener)| listener.0 == is_set);
        of.map(|(at, (_, name))| json!({"name": name, "protocol": "HTTP", "port": 8080 + at})).collect::<Vec<_>>()
    };
    let group = "gateway.networking.k8s.io/v1";
    let mut objects = vec![
        json!({
            "apiVersion": group, "kind": "Gateway", "metadata": {"name": "gw"},
            "spec": {"gatewayClassName": "pailou", "listeners": listeners(false), "allowedListeners": {"namespaces": {"from": "Same"}}},
        }),
        json!({
            "apiVersion": group, "kind": "ListenerSet", "metadata": {"name": "set"},
            "spec": {"parentRef": {"name": "gw"}, "listeners": listeners(true)},
        }),
    ];
    for route in ROUTES {
        let rule = |name: &&str| json!({"name": name, "matches": [{"path": {"value": format!("/{route}/{name}")}}]});
        let parents = json!([{"name": "gw"}, {"group": "gateway.networking.k8s.io", "kind": "ListenerSet", "name": "set"}]);
        objects.push(json!({
            "apiVersion": group, "kind": "HTTPRoute", "metadata": {"name": route},
            "spec": {"parentRefs": parents, "rules": RULES.iter().map(rule).collect::<Vec<_>>()},
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

/// The number of the policy of a kind that has a target: the oldest, then the first by name. The others are in conflict.
fn owner(policies: &[Policy], kind: Kind, target: Target) -> Option<usize> {
    let mut candidates: Vec<_> =
        (0..policies.len()).filter(|at| policies[*at].kind == kind && policies[*at].target == target).collect();
    // A stable order: names are those of places.
    candidates.sort_by_key(|at| policies[*at].age);
    candidates.first().copied()
}

/// Settings that govern a rule on a listener, `None` where no policy does.
///
/// # Errors
/// The number of the policy for which the rule answers nobody.
fn expected(
    policies: &[Policy],
    kind: Kind,
    (is_set, listener): (bool, &'static str),
    (route, rule): (&'static str, &'static str),
) -> Result<Option<Values>, usize> {
    let of = |holder, section| owner(policies, kind, Target { holder, section });
    let whole = || of(Holder::Gateway, None);
    let parent = match is_set {
        true => of(Holder::ListenerSet, Some(listener)).or_else(|| of(Holder::ListenerSet, None)).or_else(whole),
        false => of(Holder::Gateway, Some(listener)).or_else(whole),
    };
    let (own, parent) = match of(Holder::Route(route), Some(rule)).or_else(|| of(Holder::Route(route), None)) {
        None => (parent, None),
        Some(own) => (Some(own), parent.filter(|_| policies[own].merge.is_some())),
    };
    let Some(own) = own else { return Ok(None) };
    if policies[own].is_broken || parent.is_some_and(|parent| policies[parent].is_broken) {
        return Err(own);
    }
    let (values, theirs) = (policies[own].values.clone(), parent.map(|parent| policies[parent].values.clone()).unwrap_or_default());
    let limits = match policies[own].merge {
        Some("StrategicMerge") => [theirs.limits, values.limits].concat(),
        _ if values.limits.is_empty() => theirs.limits,
        _ => values.limits,
    };
    Ok(Some(Values { first: values.first.or(theirs.first), second: values.second.or(theirs.second), limits }))
}

/// Policies that the snapshot has for a rule on the listener of a port.
fn rule_at<'s>(compiled: &'s Compiled, at: usize, (route, rule): (&str, &str)) -> &'s Rule {
    let listener = compiled.snapshot.ports[at].http("").unwrap();
    let (path, headers) = (format!("/{route}/{rule}"), HeaderMap::new());
    let view = RequestView { host: "", method: &Method::GET, path: &path, query: "", headers: &headers, body: Body::Unread };
    let MatchOutcome::Rule(entry) = listener.routes.find(&view) else { panic!("{path} is routed") };
    &entry.rule
}

/// Whether it answers nobody for what a policy has.
fn is_closed(compiled: &Compiled, at: usize, rule: (&str, &str)) -> bool {
    matches!(&rule_at(compiled, at, rule).action, Action::Fail(failure) if failure.0.contains("Policy"))
}

/// Settings that the snapshot has, in the same form.
fn found(compiled: &Compiled, kind: Kind, at: usize, rule: (&str, &str)) -> Option<Values> {
    let rule = rule_at(compiled, at, rule);
    match kind {
        Kind::Security => rule.filters.cors().map(|cors| Values {
            // The default of CORS.
            first: Some(cors.max_age).filter(|seconds| *seconds != 5),
            second: cors.expose_headers.first().map(|name| name[2..].parse().unwrap()),
            limits: Vec::new(),
        }),
        Kind::Traffic => {
            let timeouts = &rule.policy.timeouts;
            let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap();
            let second = Some(timeouts.connect).filter(|connect| *connect != Duration::from_secs(10));
            let limits = rule.filters.http.iter().filter_map(|filter| match filter {
                HttpFilter::RateLimit(limits) => Some(limits.limits.rules.iter().map(|limit| limit.limit)),
                _ => None,
            });
            let limits = limits.flatten().collect();
            Some(Values { first: timeouts.request.map(seconds), second: second.map(seconds), limits })
        }
    }
}

/// A policy's conditions *Accepted*, towards all of its ancestors.
fn accepted(compiled: &Compiled, policy: &Policy, at: usize) -> Vec<Condition> {
    let key = ObjectKey::new("gateway.envoyproxy.io", policy.kind.name(), "default", format!("p{at:02}"));
    let conditions = compiled.statuses.get(&key).unwrap().conditions();
    conditions.iter().flat_map(|(_, list)| list.iter()).filter(|it| it.kind == "Accepted").cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn the_policy_that_governs_is_the_one_that_precedence_names(policies in prop::collection::vec(policy(), 0..16)) {
        let compiled = compiled(&policies);
        let mut closing = Vec::new();
        for (at, listener) in LISTENERS.into_iter().enumerate() {
            for rule in ROUTES.into_iter().flat_map(|route| RULES.map(|rule| (route, rule))) {
                let wanted = [Kind::Security, Kind::Traffic].map(|kind| expected(&policies, kind, listener, rule));
                // One policy that cannot be had closes the rule, whatever the other has.
                let closed: Vec<usize> = wanted.iter().filter_map(|it| it.clone().err()).collect();
                prop_assert_eq!(is_closed(&compiled, at, rule), !closed.is_empty(), "{:?} {:?}", listener, rule);
                if let [Ok(security), Ok(traffic)] = wanted {
                    prop_assert_eq!(found(&compiled, Kind::Security, at, rule), security, "{:?} {:?}", listener, rule);
                    // No policy, and one that sets nothing, give the same timeouts.
                    let traffic = Some(traffic.unwrap_or_default());
                    prop_assert_eq!(found(&compiled, Kind::Traffic, at, rule), traffic, "{:?} {:?}", listener, rule);
                }
                closing.extend(closed);
            }
        }
        for (at, policy) in policies.iter().enumerate() {
            let accepted = accepted(&compiled, policy, at);
            let is_owner = owner(&policies, policy.kind, policy.target) == Some(at);
            let has_lost = accepted.iter().all(|it| it.reason == "Conflicted" && it.status == ConditionStatus::False);
            prop_assert_eq!(has_lost, !is_owner, "p{:02}: {:?}", at, accepted);
            if closing.contains(&at) {
                prop_assert!(accepted.iter().any(|it| it.status == ConditionStatus::False), "p{:02} closes a rule: {:?}", at, accepted);
            }
        }
    }
}
