//! Flags of `pailou serve`.

use std::path::PathBuf;

use pailou_proxy::dns::{OverrideError, Overrides};

use super::{AccessLog, ConfigArgs, LimitStoreArgs, Listen, MetricNameSet, ReceiptArgs};

/// Flags of `pailou serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 after a signal and a drain, 2 an error (such as a port in use).")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Connect to this address, and port if given, instead of a host and port, as curl's flag; repeatable.
    ///
    /// IPv6 addresses are in brackets.
    #[arg(long = "resolve", value_name = "HOST:PORT:ADDRESS[:PORT]", value_parser = override_entry)]
    pub(crate) resolve: Vec<String>,
    /// Address of the admin endpoint, or `off`: a page for browsers, /healthz, /readyz, /metrics, /overview, /receipts and others.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000", env = "PAILOU_ADMIN")]
    pub(crate) admin: Listen,
    /// Socket by which a later process with the same PATH takes over the listening sockets.
    ///
    /// The sockets listen without a gap. The old process finishes its requests and ends.
    #[arg(long, value_name = "PATH", env = "PAILOU_HANDOVER")]
    pub(crate) handover: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) limit_store: LimitStoreArgs,
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
}

/// Flags for serving requests, which `serve` and `proxy` share.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ServingArgs {
    /// Threads that serve requests; default: the number of processors.
    #[arg(long, value_name = "N", env = "PAILOU_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) workers: Option<u16>,
    /// Memory for all request bodies; more: 503.
    #[arg(long, value_name = "MIB", default_value_t = 1024, env = "PAILOU_BODY_MEMORY", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) body_memory: u32,
    /// Seconds for requests in progress after a signal.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, env = "PAILOU_DRAIN")]
    pub(crate) drain: u32,
    /// Access log, a JSON line for every request: stdout, stderr, off, or a file to append to.
    #[arg(long, value_name = "WHERE", default_value = "stdout", env = "PAILOU_ACCESS_LOG")]
    pub(crate) access_log: AccessLog,
    /// Further names of metrics, for dashboards and autoscalers that read those; comma-separated or repeated.
    #[arg(long, value_name = "SET", value_enum, value_delimiter = ',', env = "PAILOU_METRIC_NAMES")]
    pub(crate) metric_names: Vec<MetricNameSet>,
    /// Directory with a directory for each model, which has the model's tokenizer.json, tokenizer_config.json and chat_template.jinja.
    ///
    /// Prompts for these models are tokenized in this process, where pools have KV events. Names of models may have a slash. A model's files are read at its first request, and again only if they were of no use.
    #[arg(long, value_name = "PATH", env = "PAILOU_TOKENIZERS")]
    pub(crate) tokenizers: Option<PathBuf>,
    /// Send the response flag in the header x-pailou-response-flag when the gateway answers itself.
    #[arg(long, env = "PAILOU_RESPONSE_FLAGS")]
    pub(crate) response_flags: bool,
    #[command(flatten)]
    pub(crate) receipts: ReceiptArgs,
    /// Let the admin endpoint's page send requests to the gateway's own listeners (/try).
    #[arg(long, env = "PAILOU_ADMIN_TRY")]
    pub(crate) admin_try: bool,
}

/// The entry as it stands, once it is seen to be one: the proxy reads them all together.
fn override_entry(text: &str) -> Result<String, OverrideError> {
    text.parse::<Overrides>().map(|_| text.to_owned())
}
