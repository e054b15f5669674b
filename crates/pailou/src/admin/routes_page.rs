//! Routes, page by page, with their conditions, rules and counts: `/routes`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pailou_api::ObjectKey;
use pailou_compile::status::{Status, Statuses};
use pailou_proxy::metrics::RuleFigures;
use pailou_snapshot::{Action, Backends, Failure, HostPattern, ListenerRef, RouteKind, RouteName, Rule, Snapshot};
use serde_json::{Value, json};

use super::object_rows::{self, PageQuery};

/// Most host names, matches and backends of a rule, each.
const MAX_LISTED: usize = 64;

/// Rules of the routes that are wanted, by kind and by namespace and name.
type Rules = HashMap<(&'static str, String), BTreeMap<u16, RuleRow>>;

/// Finds the counts of a rule that had a request.
pub(crate) type Figures<'a> = dyn Fn(&RouteName) -> Option<RuleFigures> + 'a;

/// A rule over all listeners that have it.
struct RuleRow {
    name: RouteName,
    hostnames: BTreeSet<String>,
    matches: Vec<String>,
    backends: Vec<String>,
    filters: Vec<String>,
    policies: Vec<String>,
}

/// The page of routes that a query asks for. `figures` has the counts of a rule where there are any; without, nobody counts.
pub(crate) fn page(query: &PageQuery, statuses: &Statuses, snapshot: Option<&Snapshot>, figures: Option<&Figures<'_>>) -> Value {
    let routes =
        statuses.iter().filter(|(_, status)| query.wants(status)).filter_map(|(key, status)| Some((kind(key)?, key, status)));
    let routes = routes.map(|(kind, key, status)| ((kind, format!("{}/{}", key.namespace, key.name)), status));
    let routes = routes.filter(|((_, name), _)| query.names(name));
    let found: Vec<_> = if query.searches() {
        let rules = snapshot.map(|snapshot| rules(snapshot, &|_| true)).unwrap_or_default();
        routes.filter(|(name, _)| is_found(query, name, rules.get(name))).collect()
    } else {
        routes.collect()
    };
    let (page, next, total) = query.page(found);
    let names: BTreeSet<&str> = page.iter().map(|((_, name), _)| name.as_str()).collect();
    let shown = snapshot.map(|snapshot| rules(snapshot, &|name| names.contains(name.name.to_string().as_str())));
    let shown = shown.unwrap_or_default();
    let page = page.iter().map(|(name, status)| route(name, status, shown.get(name), figures));
    json!({"routes": page.collect::<Vec<_>>(), "next": next, "total": total})
}

fn is_found(query: &PageQuery, (kind, name): &(&'static str, String), rules: Option<&BTreeMap<u16, RuleRow>>) -> bool {
    let in_rule = |rule: &RuleRow| rule.hostnames.iter().chain(&rule.matches).chain(&rule.backends).any(|text| query.finds(text));
    query.finds(&format!("{kind} {name}")) || rules.is_some_and(|rules| rules.values().any(in_rule))
}

/// The kind of an object, if it is a route.
pub(super) fn kind(key: &ObjectKey) -> Option<&'static str> {
    let kinds = [RouteKind::Http, RouteKind::Grpc, RouteKind::Tls, RouteKind::Tcp, RouteKind::Udp];
    kinds.into_iter().map(RouteKind::name).find(|kind| *kind == &*key.kind)
}

/// The rules of routes that are wanted.
fn rules(snapshot: &Snapshot, is_wanted: &dyn Fn(&RouteName) -> bool) -> Rules {
    let mut rules = Rules::default();
    let mut add = |name: &RouteName, host: &Option<HostPattern>, text: Option<String>, new: &dyn Fn() -> RuleRow| {
        let route = rules.entry((name.kind.name(), name.name.to_string())).or_default();
        let rule = route.entry(name.rule).or_insert_with(new);
        if rule.hostnames.len() < MAX_LISTED {
            rule.hostnames.extend(host.as_ref().map(ToString::to_string));
        }
        if let Some(text) = text
            && rule.matches.len() < MAX_LISTED
            && !rule.matches.contains(&text)
        {
            rule.matches.push(text);
        }
    };
    for listener in snapshot.ports.iter().flat_map(|port| port.listeners()) {
        match listener {
            ListenerRef::Http(listener) => {
                for (host, entries) in listener.routes.hosts() {
                    for entry in entries.iter().filter(|entry| is_wanted(&entry.rule.route)) {
                        add(&entry.rule.route, &host, Some(entry.to_string()), &|| of_requests(snapshot, &entry.rule));
                    }
                }
            }
            ListenerRef::Connections(listener) => {
                for (host, forward) in listener.routes.iter().filter(|(_, forward)| is_wanted(&forward.route)) {
                    add(&forward.route, &host, None, &|| {
                        let backends = match &forward.backends {
                            Ok(to) => backends(snapshot, to),
                            Err(Failure(why)) => vec![format!("none: {why}")],
                        };
                        RuleRow { backends, ..RuleRow::new(&forward.route) }
                    });
                }
            }
        }
    }
    rules
}

impl RuleRow {
    fn new(name: &RouteName) -> Self {
        let (matches, backends, filters, policies) = Default::default();
        Self { name: name.clone(), hostnames: BTreeSet::new(), matches, backends, filters, policies }
    }
}

fn of_requests(snapshot: &Snapshot, rule: &Rule) -> RuleRow {
    let backends = match &rule.action {
        Action::Forward(to) => backends(snapshot, to),
        Action::Redirect(_) => vec!["a redirect".to_owned()],
        Action::Respond(direct) => vec![format!("{}, by directResponse", direct.status.as_u16())],
        Action::Fail(Failure(why)) => vec![format!("500: {why}")],
    };
    RuleRow { backends, filters: rule.filter_names(), policies: rule.policy_names(), ..RuleRow::new(&rule.route) }
}

/// Backends with their shares, where there are several.
fn backends(snapshot: &Snapshot, to: &Backends) -> Vec<String> {
    let one = |backend: &pailou_snapshot::BackendRef| {
        let name = match &backend.cluster {
            Ok(cluster) => snapshot.cluster(*cluster).key.endpoints.to_string(),
            Err(Failure(why)) => format!("500: {why}"),
        };
        let total = to.total(backend.fallback);
        let fallback = if backend.fallback { ", as fallback" } else { "" };
        match u64::from(backend.weight) == total {
            true => format!("{name}{fallback}"),
            false => format!("{name} {:.1} %{fallback}", f64::from(backend.weight) * 100.0 / total.max(1) as f64),
        }
    };
    to.iter().take(MAX_LISTED).map(one).collect()
}

fn route(
    (kind, name): &(&'static str, String),
    status: &Status,
    rules: Option<&BTreeMap<u16, RuleRow>>,
    figures: Option<&Figures<'_>>,
) -> Value {
    let rules = rules.into_iter().flat_map(|rules| rules.values()).map(|rule| {
        let counted = figures.map(|figures| figures(&rule.name).unwrap_or_default());
        let mut row = json!({
            "name": rule.name.to_string(),
            "hostnames": rule.hostnames,
            "matches": rule.matches,
            "backends": rule.backends,
            "filters": rule.filters,
            "policies": rule.policies,
        });
        if let Some(counted) = counted {
            row["requests"] = counted.requests.into();
            row["errors"] = counted.errors.into();
            row["clientErrors"] = counted.client_errors.into();
            row["ttft"] = json!({"sum": counted.ttft_seconds, "count": counted.ttft_count});
        }
        row
    });
    json!({
        "name": name,
        "kind": kind,
        "severity": status.severity().name(),
        "rules": rules.collect::<Vec<_>>(),
        "conditions": object_rows::conditions(status),
        "ignored": object_rows::ignored(status),
    })
}
