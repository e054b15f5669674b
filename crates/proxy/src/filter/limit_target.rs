//! Identities of the targets that limits count apart: the rule of a route on a listener.

use std::{
    cell::RefCell,
    hash::{Hash, Hasher},
};

use hashbrown::{Equivalent, HashMap};
use pailou_limits::StableId;
use pailou_snapshot::{ListenerName, RouteKind, RouteName};

/// Identities that a thread remembers at most.
const MAX_KNOWN: usize = 1024;

thread_local! {
    /// A digest costs more than all else that a limit does.
    static KNOWN: RefCell<HashMap<Target, u64>> = RefCell::default();
}

struct Target(RouteName, ListenerName);

#[derive(Clone, Copy)]
struct TargetRef<'a>(&'a RouteName, &'a ListenerName);

impl Target {
    fn borrow(&self) -> TargetRef<'_> {
        TargetRef(&self.0, &self.1)
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        other.borrow().equivalent(self)
    }
}

impl Eq for Target {}

impl Hash for Target {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrow().hash(state);
    }
}

impl Hash for TargetRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The rest seldom differs where these do not.
        self.0.name.hash(state);
        self.0.rule.hash(state);
        self.1.gateway.hash(state);
        self.1.section.hash(state);
    }
}

impl Equivalent<Target> for TargetRef<'_> {
    fn equivalent(&self, target: &Target) -> bool {
        *self.0 == target.0 && *self.1 == target.1
    }
}

/// Identity of the rule of a route on a listener: by its own name where it has one, else by its place. The same in every process.
pub(super) fn id(route: &RouteName, listener: &ListenerName) -> u64 {
    KNOWN.with_borrow_mut(|known| {
        if let Some(id) = known.get(&TargetRef(route, listener)) {
            return *id;
        }
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        let id = digest(route, listener);
        known.insert(Target(route.clone(), listener.clone()), id);
        id
    })
}

fn digest(route: &RouteName, listener: &ListenerName) -> u64 {
    let kind = match route.kind {
        RouteKind::Http => "http",
        RouteKind::Grpc => "grpc",
        RouteKind::Tls => "tls",
        RouteKind::Tcp => "tcp",
        RouteKind::Udp => "udp",
    };
    let mut id = StableId::default().with(kind).with(&route.name.namespace).with(&route.name.name);
    match &route.rule_name {
        Some(name) => id.add(name),
        // No name has a slash.
        None => id = id.with("/").with(&route.rule.to_string()),
    }
    id = id.with(&listener.gateway.namespace).with(&listener.gateway.name).with(&listener.section);
    if let Some(set) = &listener.set {
        id = id.with(&set.namespace).with(&set.name);
    }
    id.finish()
}

#[cfg(test)]
mod tests {
    use pailou_snapshot::Name;

    use super::*;

    #[test]
    fn every_part_of_a_target_tells_it_apart_also_when_it_is_remembered() {
        let name = |name: &str| Name::new("default", name);
        let route = |kind, route: &str, rule, rule_name: Option<&str>| RouteName {
            kind,
            name: name(route),
            rule,
            rule_name: rule_name.map(Into::into),
        };
        let listener = |gateway: &str, set: Option<&str>, section: &str| ListenerName {
            gateway: name(gateway),
            set: set.map(name),
            section: section.into(),
        };
        let routes = [
            route(RouteKind::Http, "r", 0, None),
            route(RouteKind::Grpc, "r", 0, None),
            route(RouteKind::Http, "r", 1, None),
            route(RouteKind::Http, "r", 0, Some("a")),
            route(RouteKind::Http, "s", 0, None),
        ];
        let listeners = [
            listener("g", None, "http"),
            listener("g", Some("s"), "http"),
            listener("h", None, "http"),
            listener("g", None, "tls"),
        ];
        let all = || routes.iter().flat_map(|route| listeners.iter().map(|listener| id(route, listener))).collect::<Vec<_>>();
        let mut first = all();
        assert_eq!(first, all());
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), routes.len() * listeners.len());
    }

    #[test]
    fn a_rule_with_a_name_keeps_its_identity_at_another_place() {
        let listener = ListenerName { gateway: Name::new("default", "g"), set: None, section: "http".into() };
        let at = |rule| RouteName { kind: RouteKind::Http, name: Name::new("default", "r"), rule, rule_name: Some("a".into()) };
        assert_eq!(id(&at(0), &listener), id(&at(3), &listener));
    }
}
