//! Flags about what is configured, which `serve` and `check` share.

use std::{net::IpAddr, path::PathBuf};

use super::{GatewayAddress, SecretFile};

/// Where the objects come from and how names in them are read.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// A file, a directory of *.yaml, *.yml and *.json files, or `-` for standard input; may be repeated.
    ///
    /// Names that begin with a dot are left out of directories.
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
    /// Read directories with all their subdirectories.
    #[arg(short = 'R', long, env = "PAILOU_RECURSIVE")]
    pub(crate) recursive: bool,
    /// Namespace of objects that name none.
    #[arg(short = 'n', long, value_name = "NAME", default_value = "default", env = "PAILOU_NAMESPACE")]
    pub(crate) namespace: String,
    /// Make a Secret of a file: its content, without a trailing newline, under the key (`credential` unless given).
    ///
    /// It takes the place of a Secret of that name in the files, and is watched as they are. Repeat it to give a Secret several keys.
    #[arg(long = "secret", value_name = "[NAMESPACE/]NAME[:KEY]=PATH")]
    pub(crate) secrets: Vec<SecretFile>,
    /// Address of a Gateway, in place of its `spec.addresses`; may be repeated.
    #[arg(long = "address", value_name = "[NAMESPACE/]GATEWAY=IP")]
    pub(crate) addresses: Vec<GatewayAddress>,
    /// Address of Gateways that have none. The default keeps them on this machine; 0.0.0.0 opens them to the network.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", env = "PAILOU_BIND")]
    pub(crate) bind: IpAddr,
    /// Serve Gateways of this class although there is no GatewayClass object; may be repeated (`ack-gateway` and `pailou` always
    /// are served).
    #[arg(long = "class", value_name = "NAME")]
    pub(crate) classes: Vec<String>,
    /// Serve GatewayClasses of this controller too; may be repeated.
    #[arg(long = "controller", value_name = "NAME")]
    pub(crate) controllers: Vec<String>,
}
