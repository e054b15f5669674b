//! Listeners that a route attaches to.

use crate::status::Problem;
use pailou_api::{
    Kind,
    refs::{GATEWAY_GROUP, ParentReference},
};

use super::{
    gateway::Gateways,
    ids::{GatewayId, ListenerId, ListenerSetId},
    index::Index,
    listener::{ListenerState, kind_name},
    route::Route,
    wrong_kind::{self, Named},
};

/// A parentRef of a route that leads to a Gateway served here, or to a ListenerSet of one.
pub(crate) struct Attachment<'a> {
    pub(crate) parent: &'a ParentReference,
    pub(crate) gateway: GatewayId,
    /// The listeners that the route is on, or why there are none.
    pub(crate) listeners: Result<Vec<ListenerId>, Problem>,
}

/// Finds the listeners for every parentRef that concerns this gateway.
pub(crate) fn attach<'a>(index: &Index<'_>, gateways: &Gateways<'_>, route: &Route<'a>) -> Vec<Attachment<'a>> {
    let parents = route.parents.iter().filter_map(|parent| {
        let (gateway, set) = parent_of(gateways, &route.meta.namespace, parent)?;
        let state = &gateways[gateway];
        let refused = set.filter(|set| !state.sets[set.place].is_allowed).map(|_| {
            let message = format!("ListenerSet {} is not accepted: see its conditions", parent.name);
            Problem::accepted("NoMatchingParent", message)
        });
        let all = state.places(set).map(|place| (ListenerId { gateway, place }, &state.listeners[place]));
        let listeners = refused.map_or_else(|| listeners(index, &all.collect::<Vec<_>>(), route, parent), Err);
        Some(Attachment { parent, gateway, listeners })
    });
    parents.collect()
}

/// Notes on parentRefs that concern no Gateway here.
pub(crate) fn notes(index: &Index<'_>, gateways: &Gateways<'_>, route: &Route<'_>) -> Vec<String> {
    if route.parents.is_empty() {
        return vec!["the route has no parentRefs: nothing leads to it".to_owned()];
    }
    let strangers = route.parents.iter().filter(|parent| parent_of(gateways, &route.meta.namespace, parent).is_none());
    strangers
        .map(|parent| {
            let namespace = parent.namespace.as_deref().unwrap_or(&route.meta.namespace);
            if &*parent.group != GATEWAY_GROUP {
                let named = Named { group: &parent.group, kind: &parent.kind, name: &parent.name };
                return format!("not served: parentRefs: {}", wrong_kind::message(named, &[Kind::Gateway, Kind::ListenerSet]));
            }
            let known = parent.kind == "Gateway" && index.gateways.get(namespace, &parent.name).is_some();
            match (known, &*parent.kind) {
                (true, _) => format!("not served: Gateway {namespace}/{} is of a class that is not served here", parent.name),
                (false, "Gateway") => format!("not served: there is no Gateway {} in namespace {namespace}", parent.name),
                (false, "ListenerSet") => {
                    format!("not served: there is no ListenerSet {} of a served Gateway in namespace {namespace}", parent.name)
                }
                (false, kind) => format!("not served: a route cannot attach to {kind} {namespace}/{} here", parent.name),
            }
        })
        .collect()
}

/// The Gateway to which a parentRef of an object in a namespace leads, and the ListenerSet if it names one.
pub(crate) fn parent_of(
    gateways: &Gateways<'_>,
    namespace: &str,
    parent: &ParentReference,
) -> Option<(GatewayId, Option<ListenerSetId>)> {
    let namespace = parent.namespace.as_deref().unwrap_or(namespace);
    gateways.parent(&parent.group, &parent.kind, namespace, &parent.name)
}

/// Whether a listener of the parent has the section and the port that the parentRef names.
pub(crate) fn is_asked(parent: &ParentReference, listener: &ListenerState<'_>) -> bool {
    parent.section_name.as_ref().is_none_or(|name| *name == listener.spec.name)
        && parent.port.is_none_or(|port| port == listener.spec.port)
}

/// Narrows the parent's listeners down step by step; the step after which none is left gives the reason.
fn listeners(
    index: &Index<'_>,
    all: &[(ListenerId, &ListenerState<'_>)],
    route: &Route<'_>,
    parent: &ParentReference,
) -> Result<Vec<ListenerId>, Problem> {
    let left: Vec<_> = all.iter().filter(|(_, it)| is_asked(parent, it)).copied().collect();
    if left.is_empty() {
        let known: Vec<_> = all.iter().map(|(_, it)| format!("{} (port {})", it.spec.name, it.spec.port)).collect();
        let asked = asked(parent);
        let message = format!("{} {} has no listener with {asked}; it has {}", parent.kind, parent.name, known.join(", "));
        return Err(Problem::accepted("NoMatchingParent", message));
    }
    let allowed =
        |it: &&(ListenerId, &ListenerState<'_>)| it.1.kinds.contains(&route.kind) && it.1.admits(index, &route.meta.namespace);
    let left: Vec<_> = left.iter().filter(allowed).copied().collect();
    if left.is_empty() {
        let message = format!(
            "no listener of {} {} allows {}s of namespace {}: see its allowedRoutes",
            parent.kind,
            parent.name,
            kind_name(route.kind),
            route.meta.namespace
        );
        return Err(Problem::accepted("NotAllowedByListeners", message));
    }
    let left: Vec<_> = left.iter().filter(|(_, it)| it.is_accepted()).copied().collect();
    if left.is_empty() {
        let message = format!(
            "the listeners of {} {} that the route asks for are not accepted: see their conditions",
            parent.kind, parent.name
        );
        return Err(Problem::accepted("NoMatchingParent", message));
    }
    let meets = |it: &&(ListenerId, &ListenerState<'_>)| {
        let Some(hostname) = &it.1.hostname else { return true };
        route.hostnames.is_empty() || route.hostnames.iter().any(|host| hostname.intersection(host).is_some())
    };
    let places: Vec<_> = left.iter().filter(meets).map(|(place, _)| *place).collect();
    if places.is_empty() {
        let hosts: Vec<_> = left.iter().filter_map(|(_, it)| it.hostname.as_ref()).map(ToString::to_string).collect();
        let message = format!("none of the route's hostnames falls under a listener's: {}", hosts.join(", "));
        return Err(Problem::accepted("NoMatchingListenerHostname", message));
    }
    Ok(places)
}

fn asked(parent: &ParentReference) -> String {
    let section = parent.section_name.as_ref().map(|name| format!("sectionName {name}"));
    let port = parent.port.map(|port| format!("port {port}"));
    section.into_iter().chain(port).collect::<Vec<_>>().join(" and ")
}
