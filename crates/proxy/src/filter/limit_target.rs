//! Identities of the targets that limits count apart: the rule of a route on a listener.

use std::{
    cell::RefCell,
    hash::{Hash, Hasher},
    sync::Arc,
};

use hashbrown::{Equivalent, HashMap};
use pailou_limits::StableId;
use pailou_snapshot::{ListenerName, Name, RouteKind, RouteName};

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

/// Names are compared by their addresses, which costs less than by their text. A target that is remembered holds its names, so that no other
/// name comes to have such an address; equal names elsewhere, as of a later configuration, are remembered once more.
impl Hash for TargetRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The rest seldom differs where these do not.
        Arc::as_ptr(&self.0.name.name).hash(state);
        self.0.rule.hash(state);
        Arc::as_ptr(&self.1.section).hash(state);
    }
}

impl Equivalent<Target> for TargetRef<'_> {
    fn equivalent(&self, Target(route, listener): &Target) -> bool {
        let Self(own_route, own_listener) = self;
        own_route.kind == route.kind
            && own_route.rule == route.rule
            && is_same_name(&own_route.name, &route.name)
            && is_same(own_route.rule_name.as_ref(), route.rule_name.as_ref(), Arc::ptr_eq)
            && is_same_name(&own_listener.gateway, &listener.gateway)
            && is_same(own_listener.set.as_ref(), listener.set.as_ref(), is_same_name)
            && Arc::ptr_eq(&own_listener.section, &listener.section)
    }
}

fn is_same_name(one: &Name, other: &Name) -> bool {
    Arc::ptr_eq(&one.name, &other.name) && Arc::ptr_eq(&one.namespace, &other.namespace)
}

fn is_same<T>(one: Option<&T>, other: Option<&T>, is_same: impl FnOnce(&T, &T) -> bool) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => is_same(one, other),
        _ => false,
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
