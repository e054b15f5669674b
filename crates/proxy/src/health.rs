//! Active health checks.

mod grpc;
mod probe;
mod task;

use std::sync::{Arc, Weak};

use pailou_snapshot::ActiveCheck;
use tokio::{runtime::Handle, task::AbortHandle};

use crate::{
    cluster::{Background, ClusterState, EndpointState},
    dns::Dns,
    local_addresses::LocalAddresses,
};

/// Resources of work apart from requests, with the checks of this module.
pub fn background(tasks: Handle, dns: Dns) -> Background {
    Background { tasks, dns, start_check, local_backends: LocalAddresses::Allowed, token_source: None }
}

fn start_check(
    background: &Background,
    cluster: &Weak<ClusterState>,
    endpoint: &Arc<EndpointState>,
    check: &ActiveCheck,
) -> AbortHandle {
    let check = task::run(cluster.clone(), Arc::downgrade(endpoint), check.clone(), background.dns.clone());
    background.tasks.spawn(check).abort_handle()
}

#[cfg(test)]
mod tests;
