//! Flags of `pailou demo`.

use std::net::IpAddr;

use clap::builder::RangedI64ValueParser;

use super::Listen;

/// Flags of `pailou demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Address of the gateway.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", env = "PAILOU_DEMO_BIND")]
    pub(crate) bind: IpAddr,
    /// Port of the Gateway that routes by model.
    #[arg(long, value_name = "PORT", default_value_t = 8080, env = "PAILOU_DEMO_PORT", value_parser = port())]
    pub(crate) port: u16,
    /// Port of the Gateway in front of the hosted service.
    #[arg(long, value_name = "PORT", default_value_t = 8081, env = "PAILOU_DEMO_HOSTED_PORT", value_parser = port())]
    pub(crate) hosted_port: u16,
    /// Port of the simulated engines, on 127.0.0.2 to 127.0.0.5.
    #[arg(long, value_name = "PORT", default_value_t = 8000, env = "PAILOU_DEMO_ENGINE_PORT", value_parser = port())]
    pub(crate) engine_port: u16,
    /// Address of the admin endpoint, or `off`: a page for browsers, /healthz, /readyz, /metrics, /overview, /receipts and others.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000", env = "PAILOU_ADMIN")]
    pub(crate) admin: Listen,
    /// Print a JSON line for every request.
    #[arg(long)]
    pub(crate) access_log: bool,
}

fn port() -> RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..)
}
