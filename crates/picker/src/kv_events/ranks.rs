//! Publishers of its pod that an endpoint follows.

use std::{collections::HashMap, net::IpAddr, ops::Range, sync::Arc};

use pailou_snapshot::KvEvents;

use crate::endpoint::PoolEndpoint;

/// Ports of each pod (address and name), ascending.
pub(crate) struct Ranks<'a>(HashMap<(IpAddr, &'a str), Vec<u16>>);

impl<'a> Ranks<'a> {
    pub(crate) fn new(endpoints: &'a [Arc<PoolEndpoint>]) -> Self {
        let mut pods: HashMap<_, Vec<u16>> = HashMap::new();
        for endpoint in endpoints {
            pods.entry(pod(endpoint)).or_default().push(endpoint.address.port());
        }
        pods.values_mut().for_each(|ports| ports.sort_unstable());
        Self(pods)
    }

    /// Ranks of an endpoint: all of its pod if that has no other endpoint, otherwise the one of its place among them.
    pub(crate) fn of(&self, endpoint: &PoolEndpoint, settings: KvEvents) -> Range<u16> {
        let ports = self.0.get(&pod(endpoint)).map_or(&[][..], Vec::as_slice);
        if ports.len() <= 1 {
            return 0..settings.ranks;
        }
        let place = ports.partition_point(|port| *port < endpoint.address.port()).min(usize::from(u16::MAX - 1)) as u16;
        place..place + 1
    }
}

fn pod(endpoint: &PoolEndpoint) -> (IpAddr, &str) {
    (endpoint.address.ip(), &endpoint.endpoint.name)
}
