//! Active health checks.

mod grpc;
mod probe;
mod task;

use std::{
    fmt,
    sync::{Arc, Weak},
};

use pailou_snapshot::ActiveCheck;
use tokio::{runtime::Handle, task::AbortHandle};

use crate::{
    cluster::{ClusterState, EndpointState},
    dns::Dns,
};

/// Resources of work apart from requests.
#[derive(Clone)]
pub struct Background {
    /// The runtime of its tasks.
    pub tasks: Handle,
    /// The process's resolver.
    pub dns: Dns,
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

/// The active check of one endpoint; ends when dropped.
#[derive(Debug)]
pub(crate) struct CheckTask(AbortHandle);

impl CheckTask {
    /// Starts checking an endpoint.
    pub(crate) fn spawn(
        background: &Background,
        cluster: &Weak<ClusterState>,
        endpoint: &Arc<EndpointState>,
        check: &ActiveCheck,
    ) -> Self {
        let check = task::run(cluster.clone(), Arc::downgrade(endpoint), check.clone(), background.dns.clone());
        Self(background.tasks.spawn(check).abort_handle())
    }
}

impl Drop for CheckTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
