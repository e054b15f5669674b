//! Listeners that ask for the same thing.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::status::Problem;
use pailou_api::listener::Protocol;

use super::listener::ListenerState;

/// Groups of listeners that can share a port: HTTP by host name, HTTPS and TLS by server name; nothing distinguishes
/// connections of TCP or packets of UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    Http,
    Tls,
    Tcp,
    Udp,
}

impl Family {
    fn of(listener: &ListenerState<'_>) -> Option<Self> {
        match listener.spec.protocol {
            Protocol::Http => Some(Self::Http),
            Protocol::Https | Protocol::Tls => Some(Self::Tls),
            Protocol::Tcp => Some(Self::Tcp),
            Protocol::Udp => Some(Self::Udp),
            Protocol::Other(_) => None,
        }
    }
}

/// A port number; UDP's are apart from TCP's.
type Port = (bool, u16);

/// Ports with the family and the host names that are taken on them.
type Held = HashMap<Port, (Family, HashSet<Option<String>>)>;

/// Refuses listeners of one Gateway that conflict. Of the Gateway and its ListenerSets, in their order, the first has a host
/// name or a port. Within one object there is no first: as in Gateway API, the gateway serves none of those in conflict.
pub(crate) fn refuse(listeners: &mut [ListenerState<'_>]) {
    let mut held = Held::new();
    for group in listeners.chunk_by_mut(|a, b| a.set == b.set) {
        for listener in group.iter_mut() {
            listener.problems.extend(against(&held, listener));
        }
        among(group);
        for listener in group.iter().filter(|listener| !is_conflicted(listener)) {
            let Some((port, family)) = place(listener) else { continue };
            held.entry(port).or_insert_with(|| (family, HashSet::new())).1.insert(host(listener));
        }
    }
}

fn is_conflicted(listener: &ListenerState<'_>) -> bool {
    listener.problems.iter().any(|problem| problem.condition == "Conflicted")
}

fn place(listener: &ListenerState<'_>) -> Option<(Port, Family)> {
    let family = Family::of(listener)?;
    Some(((family == Family::Udp, listener.spec.port.get()), family))
}

fn host(listener: &ListenerState<'_>) -> Option<String> {
    listener.hostname.as_ref().map(ToString::to_string)
}

fn conflict(reason: &'static str, message: String) -> Problem {
    Problem { condition: "Conflicted", reason, message }
}

/// The conflict of a listener with the Gateway, or a ListenerSet before this one. The text does not name the other object,
/// which this one's owner may not know.
fn against(held: &Held, listener: &ListenerState<'_>) -> Option<Problem> {
    let ((udp, port), family) = place(listener)?;
    let (holder, hosts) = held.get(&(udp, port))?;
    let owner = "the Gateway or an older ListenerSet";
    if *holder != family {
        let message = format!("port {port} is used with another protocol by {owner}: choose another port");
        return Some(conflict("ProtocolConflict", message));
    }
    if matches!(family, Family::Tcp | Family::Udp) {
        return Some(conflict("ListenerConflict", format!("port {port} is used by {owner}: choose another port")));
    }
    let host = host(listener);
    hosts.contains(&host).then(|| {
        let host = host.map_or("every host".to_owned(), |host| format!("host {host}"));
        conflict("HostnameConflict", format!("{host} on port {port} is asked for by {owner}: choose another hostname or port"))
    })
}

/// Conflicts among the listeners of one object.
fn among(group: &mut [ListenerState<'_>]) {
    let mut ports: BTreeMap<Port, Vec<(usize, Family)>> = BTreeMap::new();
    for (at, listener) in group.iter().enumerate().filter(|(_, listener)| !is_conflicted(listener)) {
        let Some((port, family)) = place(listener) else { continue };
        ports.entry(port).or_default().push((at, family));
    }
    for ((_, port), asked) in ports.into_iter().filter(|(_, asked)| asked.len() > 1) {
        if asked.iter().any(|(_, family)| *family != asked[0].1) {
            let message = format!("port {port} is asked for with different protocols: give each protocol a port of its own");
            refuse_all(group, asked.iter().map(|(at, _)| *at), "ProtocolConflict", &message);
            continue;
        }
        let mut hosts: BTreeMap<Option<String>, Vec<usize>> = BTreeMap::new();
        for (at, _) in asked {
            hosts.entry(host(&group[at])).or_default().push(at);
        }
        for (host, places) in hosts.into_iter().filter(|(_, places)| places.len() > 1) {
            let host = host.map_or("every host".to_owned(), |host| format!("host {host}"));
            let message =
                format!("several listeners ask for {host} on port {port}: change the hostname or the port of all but one");
            refuse_all(group, places.into_iter(), "HostnameConflict", &message);
        }
    }
}

fn refuse_all(group: &mut [ListenerState<'_>], places: impl Iterator<Item = usize>, reason: &'static str, message: &str) {
    places.for_each(|at| group[at].problems.push(conflict(reason, message.to_owned())));
}
