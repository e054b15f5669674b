//! Listeners' tables, put together of what each route came to.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use pailou_snapshot::{Forward, HostMap, HostPattern, RouteMatch, RouteTable};

use super::{
    gateway::Gateways,
    ids::ListenerId,
    output::{Output, RouteListener},
    route::hosts,
};

/// The tables of all listeners.
#[derive(Debug, Default)]
pub(crate) struct Tables(HashMap<ListenerId, Table>);

/// One listener's tables.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Routes of requests.
    pub(crate) requests: RouteTable,
    /// Routes of connections.
    pub(crate) forwards: HostMap<Arc<Forward>>,
    /// The routes of each host name, in their order, with the forms that they have here.
    routes: HostMap<Vec<(usize, Arc<Output>)>>,
}

impl Tables {
    /// The tables of a listener.
    pub(crate) fn take(&self, listener: ListenerId) -> (RouteTable, HostMap<Arc<Forward>>) {
        let table = self.0.get(&listener);
        table.map(|table| (table.requests.clone(), table.forwards.clone())).unwrap_or_default()
    }

    /// Brings the tables up to date: only host names are touched that a route has which is gone or has come.
    pub(crate) fn change(&mut self, gone: &[Arc<Output>], come: &[Arc<Output>], gateways: &Gateways<'_>) {
        let mut changed: HashSet<(ListenerId, Option<HostPattern>)> = HashSet::new();
        for output in gone {
            each_host(output, gateways, |place, host| {
                let table = self.0.entry(place.listener).or_default();
                table.routes.entry(host).retain(|(_, it)| !Arc::ptr_eq(it, output));
                changed.insert((place.listener, host.cloned()));
            });
        }
        for output in come {
            each_host(output, gateways, |place, host| {
                let table = self.0.entry(place.listener).or_default();
                let routes = table.routes.entry(host);
                let at = routes.partition_point(|(_, it)| it.route.order() < output.route.order());
                routes.insert(at, (place.form, output.clone()));
                routes.shrink_to_fit();
                changed.insert((place.listener, host.cloned()));
            });
        }
        for (place, host) in changed {
            self.0.entry(place).or_default().renew(host.as_ref());
        }
        self.0.retain(|_, table| table.routes.values().next().is_some());
    }
}

impl Table {
    fn renew(&mut self, host: Option<&HostPattern>) {
        let routes = self.routes.entry(host);
        let forward = routes.iter().find_map(|(form, output)| output.forwards.get(*form));
        let entries: Vec<&Arc<[RouteMatch]>> = routes.iter().filter_map(|(form, output)| output.entries.get(*form)).collect();
        let entries = match &entries[..] {
            [] => None,
            [only] => Some((*only).clone()),
            several => Some(RouteTable::sorted(several.iter().flat_map(|list| list.iter().cloned()).collect())),
        };
        match forward {
            Some(forward) => drop(self.forwards.insert(host, forward.clone())),
            None => drop(self.forwards.remove(host)),
        }
        self.requests.set(host, entries);
        if routes.is_empty() {
            self.routes.remove(host);
        }
    }
}

/// The host names that a route stands under on each of its listeners.
fn each_host(output: &Output, gateways: &Gateways<'_>, mut each: impl FnMut(RouteListener, Option<&HostPattern>)) {
    let patterns = output.route.patterns();
    for place in &output.places {
        let listener = gateways[place.listener].hostname.as_ref();
        let mut hosts = hosts(&patterns, listener);
        hosts.sort_unstable();
        hosts.dedup();
        hosts.into_iter().for_each(|host| each(*place, host));
    }
}
