//! Flags of `pailou controller`.

use std::{net::SocketAddr, path::PathBuf};

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
    /// The controller's own Service, in its namespace: by it proxies find the feed.
    #[arg(long, value_name = "NAME", default_value = "pailou-controller", env = "PAILOU_SERVICE")]
    pub(crate) service: String,
    /// Address of the feed, by which proxies are told of the objects that their Gateway reaches.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:15010", env = "PAILOU_FEED_LISTEN")]
    pub(crate) feed_listen: SocketAddr,
    /// Another host name by which proxies may find the feed, beside that of the Service; may be repeated.
    #[arg(long = "feed-name", value_name = "NAME", env = "PAILOU_FEED_NAMES", value_delimiter = ',')]
    pub(crate) feed_names: Vec<String>,
    /// The Secret, in the controller's namespace, that keeps the authority of the feed's certificates; made where there is none.
    #[arg(long, value_name = "NAME", default_value = "pailou-feed", env = "PAILOU_FEED_SECRET")]
    pub(crate) feed_secret: String,
    /// Image of the proxies that are provisioned.
    #[arg(long, value_name = "IMAGE", default_value = concat!("ghcr.io/pailou/pailou:", env!("CARGO_PKG_VERSION")), env = "PAILOU_PROXY_IMAGE")]
    pub(crate) proxy_image: String,
    /// When it is pulled: Always, IfNotPresent or Never; the cluster's own rule unless given.
    #[arg(long, value_name = "POLICY", env = "PAILOU_PROXY_IMAGE_PULL_POLICY")]
    pub(crate) proxy_image_pull_policy: Option<String>,
    /// A Secret of each Gateway's namespace that it is pulled with; may be repeated.
    #[arg(long = "proxy-image-pull-secret", value_name = "NAME", env = "PAILOU_PROXY_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    pub(crate) proxy_image_pull_secrets: Vec<String>,
    /// Seconds that requests in progress get to finish when a proxy ends.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, env = "PAILOU_PROXY_DRAIN")]
    pub(crate) proxy_drain: u16,
    /// What proxies log, as --log has it.
    #[arg(long, value_name = "FILTER", env = "PAILOU_PROXY_LOG")]
    pub(crate) proxy_log: Option<String>,
    /// Address of /healthz, /readyz, /metrics and /status, or `off`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000", env = "PAILOU_ADMIN")]
    pub(crate) admin: Listen,
}

fn namespace(text: &str) -> Result<NamespaceName, String> {
    NamespaceName::try_from(text).map_err(|error| error.to_string())
}
