//! Flags of `pailou controller`.

use std::path::PathBuf;

use pailou_config::{
    compile::{CONTROLLER_NAME, ENVOY_GATEWAY_CONTROLLER},
    resources::NamespaceName,
};

use super::Listen;

/// Flags of `pailou controller`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 after a signal, 2 for trouble (no way to a cluster, say).")]
pub(crate) struct ControllerArgs {
    /// How to reach the cluster; KUBECONFIG, ~/.kube/config or the pod's service account unless given.
    #[arg(long, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The controller's own namespace, where its Lease is; the pod's or the kubeconfig's unless given.
    #[arg(short, long, value_name = "NAME", env = "PAILOU_NAMESPACE", value_parser = namespace)]
    pub(crate) namespace: Option<NamespaceName>,
    /// Watch this namespace and no other; may be repeated. Cluster-scoped objects are watched all the same.
    #[arg(long = "watch-namespace", value_name = "NAME", env = "PAILOU_WATCH_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    pub(crate) watch_namespaces: Vec<NamespaceName>,
    /// Answer to GatewayClasses of this `controllerName`; may be repeated.
    #[arg(long = "controller-name", value_name = "NAME", env = "PAILOU_CONTROLLER_NAMES", value_delimiter = ',')]
    #[arg(default_values = [CONTROLLER_NAME, ENVOY_GATEWAY_CONTROLLER])]
    pub(crate) controllers: Vec<String>,
    /// The Lease by which replicas agree on who writes.
    #[arg(long, value_name = "NAME", default_value = "pailou-controller", env = "PAILOU_LEASE")]
    pub(crate) lease: String,
    /// This replica's name in the Lease; a made up one unless given.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub(crate) identity: Option<String>,
    /// Address of /healthz, /readyz, /metrics and /status, or `off`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000", env = "PAILOU_ADMIN")]
    pub(crate) admin: Listen,
}

fn namespace(text: &str) -> Result<NamespaceName, String> {
    NamespaceName::try_from(text).map_err(|error| error.to_string())
}
