//! Why a controller cannot start.

/// Why a controller cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no usable kubeconfig, and this is no pod.
    #[error("no usable cluster configuration: {0}")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The client cannot be built, for instance because a certificate is not one.
    #[error("cannot make a client for the cluster: {0}")]
    Client(#[source] kube::Error),
}
