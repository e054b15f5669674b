//! Configuration flags, which `serve` and `check` share.

use std::{net::IpAddr, path::PathBuf};

use super::{GatewayAddress, SecretFile};

/// Source of the objects and meaning of names in them.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// File, directory of *.yaml, *.yml and *.json files, or `-` for standard input; repeatable.
    ///
    /// Directories: names that begin with a dot are skipped.
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    /// Read directories with their subdirectories.
    #[arg(short = 'R', long, env = "PAILOU_RECURSIVE")]
    pub(crate) recursive: bool,
    /// Namespace of objects without one.
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default", env = "PAILOU_NAMESPACE")]
    pub(crate) namespace: String,
    /// Secret from a file: its content without a trailing newline; the key is `credential` by default.
    ///
    /// It replaces a Secret of that name in the files. Pailou rereads the file when it changes. Repeat the flag for several keys.
    #[arg(long = "secret", value_name = "[NAMESPACE/]NAME[:KEY]=PATH")]
    pub(crate) secrets: Vec<SecretFile>,
    /// Address of a Gateway, instead of its `spec.addresses`; repeatable.
    #[arg(long = "address", value_name = "[NAMESPACE/]GATEWAY=IP")]
    pub(crate) addresses: Vec<GatewayAddress>,
    /// Address of Gateways without one. 0.0.0.0 opens them to the network.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", env = "PAILOU_BIND")]
    pub(crate) bind: IpAddr,
    /// Serve Gateways of this class without a GatewayClass object, as of `ack-gateway` and `pailou`; repeatable.
    #[arg(long = "class", value_name = "NAME")]
    pub(crate) classes: Vec<String>,
    /// Serve GatewayClasses of this `controllerName` too; repeatable.
    #[arg(long = "controller", value_name = "NAME")]
    pub(crate) controllers: Vec<String>,
}
