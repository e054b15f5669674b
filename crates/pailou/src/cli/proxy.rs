//! Flags of `pailou proxy`.

use std::path::PathBuf;

use hyper::Uri;
use pailou_compile::{CONTROLLER_NAME, ENVOY_GATEWAY_CONTROLLER};
use pailou_snapshot::Name;

use super::{Listen, ServingArgs};

/// Flags of `pailou proxy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The controller sets these flags for the data planes that it provisions.\n\
    Exit status: 0 after a signal, 2 an error.")]
pub(crate) struct ProxyArgs {
    /// The Gateway to serve.
    #[arg(long, value_name = "NAMESPACE/NAME", env = "PAILOU_GATEWAY", value_parser = gateway)]
    pub(crate) gateway: Name,
    /// Controller's feed, an https URL.
    #[arg(long, value_name = "URL", env = "PAILOU_FEED")]
    pub(crate) feed: Uri,
    /// PEM file with the CAs of the feed's certificate; reread for every connection.
    #[arg(long, value_name = "PATH", env = "PAILOU_FEED_CA")]
    pub(crate) feed_ca: PathBuf,
    /// File with the token for the feed; reread for every connection.
    #[arg(long, value_name = "PATH", env = "PAILOU_FEED_TOKEN")]
    pub(crate) feed_token: PathBuf,
    /// Serve GatewayClasses of this `controllerName`; repeatable.
    #[arg(long = "controller-name", value_name = "NAME", env = "PAILOU_CONTROLLER_NAMES", value_delimiter = ',')]
    #[arg(default_values = [CONTROLLER_NAME, ENVOY_GATEWAY_CONTROLLER])]
    pub(crate) controllers: Vec<String>,
    /// Namespace of the controller, which keeps the key of sessions (SecurityPolicy `oidc`) there.
    #[arg(long, value_name = "NAME", env = "PAILOU_CONTROLLER_NAMESPACE")]
    pub(crate) controller_namespace: Option<String>,
    /// Let URLs of identity providers and key sets in policies lead to loopback and link-local addresses.
    #[arg(long, env = "PAILOU_ALLOW_LOCAL_IDENTITY_PROVIDERS")]
    pub(crate) allow_local_identity_providers: bool,
    /// Let backends be loopback and link-local addresses; receipts then need the token of --admin-token-file from everybody.
    #[arg(long, env = "PAILOU_ALLOW_LOCAL_BACKENDS")]
    pub(crate) allow_local_backends: bool,
    /// Address of the admin endpoint, or `off`: a page for browsers, /healthz, /readyz, /metrics, /overview, /receipts and others.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000", env = "PAILOU_ADMIN")]
    pub(crate) admin: Listen,
    #[command(flatten)]
    pub(crate) serving: ServingArgs,
}

pub(super) fn gateway(text: &str) -> Result<Name, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok(Name::new(namespace, name))
        }
        _ => Err("give NAMESPACE/NAME".to_owned()),
    }
}
