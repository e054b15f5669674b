//! The command line. Each command's flags are in its own file.

mod check;
mod config;
mod controller;
mod demo;
mod explain;
mod keys;
mod limit_store;
mod limits;
mod log;
mod metric_names;
mod picker;
mod proxy;
mod receipts;
mod serve;
mod sim;
mod top;
mod value;

use clap::{Parser, Subcommand};

pub(crate) use check::{AssumedKind, CheckArgs, JudgedAs, OutputFormat};
pub(crate) use config::ConfigArgs;
pub(crate) use controller::ControllerArgs;
pub(crate) use demo::DemoArgs;
pub(crate) use explain::{ExplainArgs, ExplainFormat};
pub(crate) use keys::{KeyEntryArgs, KeysAction, KeysArgs, ListFormat, ListKeysArgs};
pub(crate) use limit_store::LimitStoreArgs;
pub(crate) use limits::LimitsArgs;
pub(crate) use log::{LogArgs, LogFormat};
pub(crate) use metric_names::MetricNameSet;
pub(crate) use picker::{MetricsScheme, PickerArgs};
pub(crate) use proxy::ProxyArgs;
pub(crate) use receipts::ReceiptArgs;
pub(crate) use serve::{ServeArgs, ServingArgs};
pub(crate) use sim::{Connector, CostArgs, Dialect, Encoding, KvEventsArgs, KvOffloadArgs, KvTransferArgs, Role, SimArgs};
pub(crate) use top::TopArgs;
pub(crate) use value::{AccessLog, GatewayAddress, Listen, SecretFile};

/// An inference gateway, configured with Kubernetes resources.
#[derive(Debug, Parser)]
#[command(name = "pailou", version, propagate_version = true, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "To see it work: `pailou demo`.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the Gateways in YAML or JSON files; reload files when they change.
    Serve(Box<ServeArgs>),
    /// Validate files and print conditions; exit status 1 if an object is not accepted.
    Check(CheckArgs),
    /// Make API keys for clients, and list who has some.
    Keys(Box<KeysArgs>),
    /// Show what clients have spent of their limits: the counters of a running gateway.
    Limits(LimitsArgs),
    /// Show rates, routes, engines and requests of a running gateway, controller or picker, as the page does.
    Top(TopArgs),
    /// Show why a request went where it went, or where it would go without sending it.
    Explain(Box<ExplainArgs>),
    /// Follow a cluster: compile its objects, write their statuses, provision data planes.
    Controller(Box<ControllerArgs>),
    /// Serve one Gateway of a cluster, with the objects from the controller's feed.
    Proxy(Box<ProxyArgs>),
    /// Pick endpoints of an InferencePool for other gateways: Envoy, agentgateway, Istio.
    Picker(Box<PickerArgs>),
    /// Run the examples with simulated engines on loopback.
    Demo(DemoArgs),
    /// Run a simulated model server: OpenAI API, vLLM metrics, a KV cache and a batching cost model.
    Sim(Box<SimArgs>),
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_help() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }

    #[test]
    fn serve_needs_a_file() {
        assert!(Cli::try_parse_from(["pailou", "serve"]).is_err());
        assert!(Cli::try_parse_from(["pailou", "serve", "-f", "a.yaml", "-f", "-"]).is_ok());
    }
}
