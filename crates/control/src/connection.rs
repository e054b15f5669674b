//! The way to the API server.

use std::{path::Path, sync::Arc, time::Duration};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::Error;

/// How long the API server may say nothing on a connection that waits for it; a watch ends sooner by itself.
const READ_TIMEOUT: Duration = Duration::from_secs(150);
/// How long a connection to it may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client, and what its configuration says of where it is.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The namespace of the pod, or of the kubeconfig's context.
    pub namespace: String,
    /// The API server's address.
    pub origin: Arc<str>,
}

impl Connection {
    /// Configures a client by the given kubeconfig, else by KUBECONFIG or `~/.kube/config`, else by the pod's service account.
    /// Connects to nothing yet. Needs the runtime.
    ///
    /// # Errors
    /// There is no configuration, or the client cannot use it.
    pub async fn new(kubeconfig: Option<&Path>) -> Result<Self, Error> {
        let mut config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| Error::Config(error.into()))?;
                let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
                config.map_err(|error| Error::Config(error.into()))?
            }
            None => Config::infer().await.map_err(|error| Error::Config(error.into()))?,
        };
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        config.read_timeout = Some(READ_TIMEOUT);
        config.reset_reader_on_write = true;
        let (namespace, origin) = (config.default_namespace.clone(), config.cluster_url.to_string().into());
        let client = Client::try_from(config).map_err(Error::Client)?;
        Ok(Self { client, namespace, origin })
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("namespace", &self.namespace).field("origin", &self.origin).finish_non_exhaustive()
    }
}
