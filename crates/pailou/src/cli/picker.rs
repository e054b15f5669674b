//! Flags of `pailou picker`. Those that the reference endpoint picker has too bear its names.

use std::{net::IpAddr, path::PathBuf};

use clap::ArgAction;
use pailou_config::resources::{
    NamespaceName,
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP},
};

/// Flags of `pailou picker`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Without -f it follows the cluster: the pool's namespace alone, for which a Role is enough.\n\
    Exit status: 0 after a signal and a drain, 2 for trouble (a port that is taken, say).")]
pub(crate) struct PickerArgs {
    /// The InferencePool whose endpoints are picked.
    #[arg(long, value_name = "NAME", env = "PAILOU_POOL_NAME")]
    pub(crate) pool_name: String,
    /// Its namespace; the pod's or the kubeconfig's unless given, and `default` with -f.
    #[arg(long, value_name = "NAME", env = "PAILOU_POOL_NAMESPACE", value_parser = namespace)]
    pub(crate) pool_namespace: Option<NamespaceName>,
    /// Its API group: inference.networking.k8s.io or inference.networking.x-k8s.io; the former unless given.
    #[arg(long, value_name = "GROUP", env = "PAILOU_POOL_GROUP", value_parser = group)]
    pub(crate) pool_group: Option<&'static str>,
    /// Read the pool, its Pods and what else there is from a file or directory, or `-` for standard input; may be repeated.
    #[arg(short = 'f', long = "file", value_name = "PATH", num_args = 1.., conflicts_with = "kubeconfig")]
    pub(crate) files: Vec<PathBuf>,
    /// Read directories with all their subdirectories.
    #[arg(short = 'R', long, env = "PAILOU_RECURSIVE")]
    pub(crate) recursive: bool,
    /// How to reach the cluster; KUBECONFIG, ~/.kube/config or the pod's service account unless given.
    #[arg(long, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Address of all three ports.
    #[arg(long, value_name = "IP", default_value = "::", env = "PAILOU_BIND")]
    pub(crate) bind: IpAddr,
    /// Port that proxies ask on.
    #[arg(long, value_name = "PORT", default_value_t = 9002)]
    pub(crate) grpc_port: u16,
    /// Port of gRPC's health protocol, without TLS.
    #[arg(long, value_name = "PORT", default_value_t = 9003)]
    pub(crate) grpc_health_port: u16,
    /// Port of /healthz, /readyz, /metrics and /status.
    #[arg(long, value_name = "PORT", default_value_t = 9090)]
    pub(crate) metrics_port: u16,
    /// Speak TLS to proxies.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, env = "PAILOU_SECURE_SERVING")]
    pub(crate) secure_serving: bool,
    /// Directory of the certificate, tls.crt and tls.key; it is made, and signed by itself, unless given.
    #[arg(long, value_name = "PATH", env = "PAILOU_CERT_PATH")]
    pub(crate) cert_path: Option<PathBuf>,
    /// Endpoints that gateways are told: with more than one, those after the first are to fail over to.
    ///
    /// Gateways that fail over read a list. An Envoy whose cluster is ORIGINAL_DST reads one endpoint only.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) max_endpoints: u8,
    /// The longest request body that is read; longer ones are answered 413.
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_body: u32,
    /// Memory for request bodies, all together; requests beyond it are answered 503.
    #[arg(long, value_name = "MIB", default_value_t = 1024, env = "PAILOU_BODY_MEMORY", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) body_memory: u32,
    /// Seconds that requests in progress get to finish after a signal.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, env = "PAILOU_DRAIN")]
    pub(crate) drain: u32,
}

fn namespace(text: &str) -> Result<NamespaceName, String> {
    NamespaceName::try_from(text).map_err(|error| error.to_string())
}

fn group(text: &str) -> Result<&'static str, String> {
    let known = [INFERENCE_GROUP, INFERENCE_X_GROUP];
    known.into_iter().find(|known| *known == text).ok_or_else(|| format!("give {} or {}", known[0], known[1]))
}
