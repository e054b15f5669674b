//! Flags of `pailou explain`.

use std::{net::SocketAddr, path::PathBuf};

use clap::ValueEnum;

use super::ConfigArgs;

/// Flags of `pailou explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    pailou explain 5f0c8a52-…                         the receipt of a request, by its x-request-id\n  \
    pailou explain -f gateway.yaml -d '{\"model\": \"qwen\"}' http://127.0.0.1:8080/v1/chat/completions\n\n\
    Exit status: 0; 1 where the request would not reach a backend, or has no receipt; 2 an error.")]
pub(crate) struct ExplainArgs {
    /// Id of a request whose receipt is kept, or URL of a request to explain without sending it.
    #[arg(value_name = "ID|URL", required_unless_present_any = ["request", "next"])]
    pub(crate) target: Option<String>,
    /// Explain by these files instead of a running gateway; repeatable.
    #[arg(short = 'f', long = "file", value_name = "PATH", num_args = 1)]
    pub(crate) files: Vec<PathBuf>,
    /// Read directories with their subdirectories.
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Namespace of objects without one.
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default")]
    pub(crate) namespace: String,
    /// Address of the gateway's admin endpoint.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000", env = "PAILOU_ADMIN")]
    pub(crate) admin: SocketAddr,
    /// File with the admin endpoint's token.
    #[arg(long, value_name = "PATH", env = "PAILOU_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// File with an HTTP request: request line, headers, an empty line, body.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["target", "method", "headers", "data"])]
    pub(crate) request: Option<PathBuf>,
    /// Wait for the next request whose head meets this CEL expression, and show its receipt; up to 4 minutes. Empty: any.
    ///
    /// As authorization's `cel`: request.method, request.url_path, request.headers['x-gateway-model-name'], source.address …
    #[arg(long, value_name = "EXPRESSION", conflicts_with_all = ["target", "request", "method", "headers", "data", "files"])]
    pub(crate) next: Option<String>,
    /// Method; default: GET, or POST with -d.
    #[arg(short = 'X', long = "method", value_name = "METHOD")]
    pub(crate) method: Option<String>,
    /// Header, as curl's flag; repeatable.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub(crate) headers: Vec<String>,
    /// Body, or @PATH of a file with it; at most 1 MiB.
    #[arg(short = 'd', long = "data", value_name = "TEXT")]
    pub(crate) data: Option<String>,
    /// Output format.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: ExplainFormat,
}

/// Output format of `pailou explain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    /// For people.
    #[default]
    Text,
    /// The document as it is.
    Json,
}

impl ExplainArgs {
    /// The configuration to explain by.
    pub(crate) fn config(&self) -> ConfigArgs {
        ConfigArgs {
            files: self.files.clone(),
            recursive: self.recursive,
            namespace: self.namespace.clone(),
            secrets: Vec::new(),
            addresses: Vec::new(),
            bind: std::net::Ipv4Addr::LOCALHOST.into(),
            classes: Vec::new(),
            controllers: Vec::new(),
        }
    }
}
