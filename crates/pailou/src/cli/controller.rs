//! Flags of `pailou controller`.

use std::{net::SocketAddr, path::PathBuf};

use pailou_api::NamespaceName;
use pailou_compile::{CONTROLLER_NAME, ENVOY_GATEWAY_CONTROLLER};

use super::Listen;

/// Flags of `pailou controller`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 after a signal, 2 an error (such as no connection to a cluster).")]
pub(crate) struct ControllerArgs {
    /// Kubeconfig; default: KUBECONFIG, ~/.kube/config or the pod's service account.
    #[arg(long, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Controller's namespace, for its Lease; default: the pod's or the kubeconfig's.
    #[arg(short, long, value_name = "NAME", env = "PAILOU_NAMESPACE", value_parser = namespace)]
    pub(crate) namespace: Option<NamespaceName>,
    /// Watch only this namespace; repeatable. Cluster-scoped objects are watched all the same.
    #[arg(long = "watch-namespace", value_name = "NAME", env = "PAILOU_WATCH_NAMESPACES", value_delimiter = ',', value_parser = namespace)]
    pub(crate) watch_namespaces: Vec<NamespaceName>,
    /// Serve GatewayClasses of this `controllerName`; repeatable.
    #[arg(long = "controller-name", value_name = "NAME", env = "PAILOU_CONTROLLER_NAMES", value_delimiter = ',')]
    #[arg(default_values = [CONTROLLER_NAME, ENVOY_GATEWAY_CONTROLLER])]
    pub(crate) controllers: Vec<String>,
    /// Lease for leader election; the leader writes statuses.
    #[arg(long, value_name = "NAME", default_value = "pailou-controller", env = "PAILOU_LEASE")]
    pub(crate) lease: String,
    /// This replica's name in the Lease; default: generated.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub(crate) identity: Option<String>,
    /// Controller's Service, in its namespace, by which proxies find the feed.
    #[arg(long, value_name = "NAME", default_value = "pailou-controller", env = "PAILOU_SERVICE")]
    pub(crate) service: String,
    /// Address of the feed, which sends proxies the objects that their Gateway reaches.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:15010", env = "PAILOU_FEED_LISTEN")]
    pub(crate) feed_listen: SocketAddr,
    /// Further host name of the feed, for proxies outside the cluster; repeatable.
    #[arg(long = "feed-name", value_name = "NAME", env = "PAILOU_FEED_NAMES", value_delimiter = ',')]
    pub(crate) feed_names: Vec<String>,
    /// Secret, in the controller's namespace, with the CA of the feed's certificates; created if missing.
    #[arg(long, value_name = "NAME", default_value = "pailou-feed", env = "PAILOU_FEED_SECRET")]
    pub(crate) feed_secret: String,
    /// Image of data planes.
    #[arg(long, value_name = "IMAGE", default_value = concat!("ghcr.io/pailou/pailou:", env!("CARGO_PKG_VERSION")), env = "PAILOU_PROXY_IMAGE")]
    pub(crate) proxy_image: String,
    /// Pull policy of that image: Always, IfNotPresent or Never; default: the cluster's rule.
    #[arg(long, value_name = "POLICY", env = "PAILOU_PROXY_IMAGE_PULL_POLICY")]
    pub(crate) proxy_image_pull_policy: Option<String>,
    /// Pull Secret of that image, in each Gateway's namespace; repeatable.
    #[arg(long = "proxy-image-pull-secret", value_name = "NAME", env = "PAILOU_PROXY_IMAGE_PULL_SECRETS", value_delimiter = ',')]
    pub(crate) proxy_image_pull_secrets: Vec<String>,
    /// Seconds for requests in progress when a proxy ends.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, env = "PAILOU_PROXY_DRAIN")]
    pub(crate) proxy_drain: u16,
    /// Log filter of proxies, as for --log.
    #[arg(long, value_name = "FILTER", env = "PAILOU_PROXY_LOG")]
    pub(crate) proxy_log: Option<String>,
    /// Address of the admin endpoint, or `off`: a page of all Gateways for browsers, /healthz, /readyz, /metrics, /overview and others.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000", env = "PAILOU_ADMIN")]
    pub(crate) admin: Listen,
    /// File with the admin endpoint's token; without it, only this machine gets answers about requests, clients and objects.
    #[arg(long, value_name = "PATH", env = "PAILOU_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
}

fn namespace(text: &str) -> Result<NamespaceName, String> {
    NamespaceName::try_from(text).map_err(|error| error.to_string())
}
