//! Flags of `pailou picker`. Those that the reference endpoint picker has too bear its names.

use std::{net::IpAddr, path::PathBuf};

use clap::ArgAction;
use pailou_api::{
    NamespaceName,
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP},
};

use super::MetricNameSet;

/// Flags of `pailou picker`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Without -f it follows the pool's namespace in the cluster; a Role is enough.\n\
    Exit status: 0 after a signal and a drain, 2 an error (such as a port in use).")]
pub(crate) struct PickerArgs {
    /// Name of the InferencePool.
    #[arg(long, value_name = "NAME", env = "PAILOU_POOL_NAME")]
    pub(crate) pool_name: String,
    /// Namespace of the InferencePool; default: the pod's or the kubeconfig's, `default` with -f.
    #[arg(long, value_name = "NAME", env = "PAILOU_POOL_NAMESPACE", value_parser = namespace)]
    pub(crate) pool_namespace: Option<NamespaceName>,
    /// API group of the InferencePool: inference.networking.k8s.io (default) or inference.networking.x-k8s.io.
    #[arg(long, value_name = "GROUP", env = "PAILOU_POOL_GROUP", value_parser = group)]
    pub(crate) pool_group: Option<&'static str>,
    /// Read the pool and its Pods from a file, a directory or `-` for standard input; repeatable.
    #[arg(short = 'f', long = "file", value_name = "PATH", num_args = 1.., conflicts_with = "kubeconfig")]
    pub(crate) files: Vec<PathBuf>,
    /// Read directories with their subdirectories.
    #[arg(short = 'R', long, env = "PAILOU_RECURSIVE")]
    pub(crate) recursive: bool,
    /// Kubeconfig; default: KUBECONFIG, ~/.kube/config or the pod's service account.
    #[arg(long, value_name = "PATH")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Address of all three ports.
    #[arg(long, value_name = "IP", default_value = "::", env = "PAILOU_BIND")]
    pub(crate) bind: IpAddr,
    /// Port of the endpoint picker protocol.
    #[arg(long, value_name = "PORT", default_value_t = 9002)]
    pub(crate) grpc_port: u16,
    /// Port of the gRPC health protocol, cleartext.
    #[arg(long, value_name = "PORT", default_value_t = 9003)]
    pub(crate) grpc_health_port: u16,
    /// Port of /healthz, /readyz, /metrics and /status.
    #[arg(long, value_name = "PORT", default_value_t = 9090)]
    pub(crate) metrics_port: u16,
    /// Serve TLS to gateways.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set, env = "PAILOU_SECURE_SERVING")]
    pub(crate) secure_serving: bool,
    /// Directory with tls.crt and tls.key; default: a self-signed certificate, made at start.
    #[arg(long, value_name = "PATH", env = "PAILOU_CERT_PATH")]
    pub(crate) cert_path: Option<PathBuf>,
    /// Endpoints in each answer; those after the first are for failover.
    ///
    /// Envoy's override_host policy and Pailou read the list. An Envoy cluster of type ORIGINAL_DST reads one endpoint.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(crate) max_endpoints: u8,
    /// Longest request body; longer: 413.
    #[arg(long, value_name = "MIB", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_body: u32,
    /// Memory for all request bodies; more: 503.
    #[arg(long, value_name = "MIB", default_value_t = 1024, env = "PAILOU_BODY_MEMORY", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) body_memory: u32,
    /// Scheme of the engines' metrics where no BackendTLSPolicy on the InferencePool says TLS.
    #[arg(long, value_name = "SCHEME", value_enum, default_value_t = MetricsScheme::Http)]
    pub(crate) model_server_metrics_scheme: MetricsScheme,
    /// Do not verify the engines' certificates with --model-server-metrics-scheme=https.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub(crate) model_server_metrics_https_insecure_skip_verify: bool,
    /// Further names of metrics, for dashboards and autoscalers that read those; comma-separated or repeated.
    #[arg(long, value_name = "SET", value_enum, value_delimiter = ',', env = "PAILOU_METRIC_NAMES")]
    pub(crate) metric_names: Vec<MetricNameSet>,
    /// Directory with a directory for each model, which has the model's tokenizer.json, tokenizer_config.json and chat_template.jinja.
    ///
    /// Prompts for these models are tokenized in this process, where pools have KV events. Names of models may have a slash. A model's files are read at its first request, and again only if they were of no use.
    #[arg(long, value_name = "PATH", env = "PAILOU_TOKENIZERS")]
    pub(crate) tokenizers: Option<PathBuf>,
    /// llm-d's EndpointPickerConfig: scorers and weights, queues, ports of KV events. Read once, at the start; goes before the pool's annotation.
    #[arg(long, value_name = "PATH", env = "PAILOU_CONFIG_FILE", conflicts_with = "config_text")]
    pub(crate) config_file: Option<PathBuf>,
    /// The same as text.
    #[arg(long, value_name = "YAML")]
    pub(crate) config_text: Option<String>,
    /// Seconds for requests in progress after a signal.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, env = "PAILOU_DRAIN")]
    pub(crate) drain: u32,
}

/// Scheme of engines' metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MetricsScheme {
    /// Cleartext.
    Http,
    /// TLS.
    Https,
}

fn namespace(text: &str) -> Result<NamespaceName, String> {
    NamespaceName::try_from(text).map_err(|error| error.to_string())
}

fn group(text: &str) -> Result<&'static str, String> {
    let known = [INFERENCE_GROUP, INFERENCE_X_GROUP];
    known.into_iter().find(|known| *known == text).ok_or_else(|| format!("give {} or {}", known[0], known[1]))
}
