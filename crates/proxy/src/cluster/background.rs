//! Work of clusters apart from requests.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use pailou_picker::TokenSource;
use pailou_snapshot::ActiveCheck;
use tokio::{runtime::Handle, task::AbortHandle};

use super::{ClusterState, EndpointState};
use crate::{dns::Dns, local_addresses::LocalAddresses};

/// Starts the active checks of an endpoint.
pub(crate) type StartCheck = fn(&Background, &Weak<ClusterState>, &Arc<EndpointState>, &ActiveCheck) -> AbortHandle;

/// Resources of work apart from requests. [`crate::health::background`] makes one.
#[derive(Clone)]
pub struct Background {
    /// The runtime of its tasks.
    pub(crate) tasks: Handle,
    /// The process's resolver.
    pub(crate) dns: Dns,
    /// `health` knows clusters, and so they know no more of it than this.
    pub(crate) start_check: StartCheck,
    /// Whether endpoints of its clusters may be the machine itself.
    pub(crate) local_backends: LocalAddresses,
    /// Tokenizers in this process, for pools that look up prompts' tokens.
    pub(crate) token_source: Option<Arc<dyn TokenSource>>,
}

impl Background {
    /// The same for clusters whose endpoints may, or must not, be the machine itself.
    pub(crate) fn limited_to(self, local_backends: LocalAddresses) -> Self {
        Self { local_backends, ..self }
    }

    /// The same with tokenizers in this process.
    pub(crate) fn with_token_source(self, token_source: Option<Arc<dyn TokenSource>>) -> Self {
        Self { token_source, ..self }
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

/// The active check of one endpoint; ends when dropped.
#[derive(Debug)]
pub(super) struct CheckTask(AbortHandle);

impl CheckTask {
    /// Starts checking an endpoint.
    pub(super) fn start(
        background: &Background,
        cluster: &Weak<ClusterState>,
        endpoint: &Arc<EndpointState>,
        check: &ActiveCheck,
    ) -> Self {
        Self((background.start_check)(background, cluster, endpoint, check))
    }
}

impl Drop for CheckTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
