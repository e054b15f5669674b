//! Flags of `pailou controller`.

use std::{net::SocketAddr, path::PathBuf};

use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
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
    /// Create a NetworkPolicy for each data plane: listeners for all, the admin endpoint for these peers, a JSON list as in `from`.
    #[arg(long, value_name = "PEERS", env = "PAILOU_PROXY_ADMIN_PEERS", value_parser = peers)]
    pub(crate) proxy_admin_peers: Option<Peers>,
    /// Address of the admin endpoint, or `off`: a page of all Gateways for browsers, /healthz, /readyz, /metrics, /overview and others.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000", env = "PAILOU_ADMIN")]
    pub(crate) admin: Listen,
    /// File with the admin endpoint's token; without it, only this machine gets answers about requests, clients and objects.
    #[arg(long, value_name = "PATH", env = "PAILOU_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
}

/// Peers of a NetworkPolicy.
#[derive(Clone, Debug)]
pub(crate) struct Peers(
    #[cfg_attr(not(feature = "cluster"), expect(dead_code, reason = "only controllers make policies"))]
    pub(crate)  Vec<NetworkPolicyPeer>,
);

/// Fields that are not known, or peers without any, would admit others than were meant.
fn peers(text: &str) -> Result<Peers, String> {
    let written: Vec<serde_json::Value> = serde_json::from_str(text).map_err(|error| format!("no JSON list: {error}"))?;
    let peers = written.into_iter().map(|peer| {
        let known: NetworkPolicyPeer = serde_json::from_value(peer.clone()).map_err(|error| format!("{peer}: {error}"))?;
        match serde_json::to_value(&known) {
            Ok(same) if same == peer && peer != serde_json::json!({}) => Ok(known),
            _ => Err(format!("{peer}: no peer; it has ipBlock, namespaceSelector, podSelector or both selectors")),
        }
    });
    peers.collect::<Result<_, _>>().map(Peers)
}

fn namespace(text: &str) -> Result<NamespaceName, String> {
    NamespaceName::try_from(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_that_would_admit_others_than_meant_are_refused() {
        let text = r#"[{"namespaceSelector":{"matchLabels":{"a":"b"}}},{"ipBlock":{"cidr":"10.0.0.0/8"}}]"#;
        assert_eq!(peers(text).map(|peers| peers.0.len()), Ok(2));
        assert!(peers("[]").is_ok());
        for wrong in ["", "{}", "[{}]", r#"[{"namespaceselector":{}}]"#, r#"[{"podSelector":{"matchLabel":{}}}]"#, r#"["a"]"#] {
            assert!(peers(wrong).is_err(), "{wrong}");
        }
    }
}
