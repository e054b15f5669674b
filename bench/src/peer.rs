//! Peers of the gateway: how to find, configure and start each, and the workloads it can serve.

mod table;

use std::{
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use clap::ValueEnum;

pub(crate) use self::table::PAILOU;
use crate::{template::Site, workload::Workload};

/// Debian's directory of servers, which is not on every user's path.
const SERVER_DIRECTORIES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// Subjects to compare the gateway with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PeerName {
    /// Nothing: the load goes to the engine. Always measured, as what latencies are compared with.
    Direct,
    /// haproxy that reads no bodies: what others are compared with.
    Haproxy,
    /// haproxy that routes by the model in the body, up to 32 KiB.
    HaproxyBody,
    /// nginx that reads no bodies.
    Nginx,
    /// Envoy that reads no bodies.
    Envoy,
    /// Envoy that routes by the model in the body.
    EnvoyBody,
    /// SGLang's router.
    SglangRouter,
    /// vLLM's router.
    VllmRouter,
    /// LiteLLM's proxy.
    Litellm,
    /// Portkey's gateway.
    Portkey,
    /// agentgateway; only if a program is given or on the path.
    Agentgateway,
    /// Busbar; only if a program is given or on the path.
    Busbar,
}

/// A peer as the command line asks for it: `NAME` or `NAME=PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerOption {
    pub(crate) name: PeerName,
    /// Its program; `None` to search for it.
    pub(crate) program: Option<PathBuf>,
}

/// How a peer is run. Texts may have the placeholders of [`Site`], and `@CONFIG@`, the first file.
#[derive(Debug)]
pub(crate) struct Peer {
    /// As it is called in tables.
    pub(crate) title: &'static str,
    /// Paths of the program, below each directory of the search; the first that exists counts.
    pub(crate) programs: &'static [&'static str],
    /// How to get it.
    pub(crate) install: &'static str,
    /// Files it is configured by.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Interpreter, if it is no program of its own.
    pub(crate) interpreter: Option<&'static str>,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) environment: &'static [(&'static str, &'static str)],
    /// Headers that requests to it have.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    /// Workloads that it can serve.
    pub(crate) serves: &'static [Workload],
}

impl PeerName {
    /// All but `direct`, in the order of the tables.
    pub(crate) fn gateways() -> impl Iterator<Item = Self> {
        Self::value_variants().iter().copied().filter(|&name| name != Self::Direct)
    }

    /// How it is run; `None` for `direct`.
    pub(crate) fn peer(self) -> Option<&'static Peer> {
        table::peer(self)
    }
}

/// A peer's program: in these directories, then on the path.
pub(crate) fn installed(name: PeerName, directories: &[PathBuf]) -> Option<PathBuf> {
    name.peer()?.installed(directories)
}

impl FromStr for PeerOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, program) = text.split_once('=').map_or((text, None), |(name, path)| (name, Some(PathBuf::from(path))));
        let name = PeerName::from_str(name, false).map_err(|_| {
            let names = PeerName::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            format!("peers are {}", names.map(|name| name.get_name().to_owned()).collect::<Vec<_>>().join(", "))
        })?;
        Ok(Self { name, program })
    }
}

impl Peer {
    /// Its program: in these directories, then on the path.
    pub(crate) fn installed(&self, directories: &[PathBuf]) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let of_system = std::env::split_paths(&path).chain(SERVER_DIRECTORIES.map(PathBuf::from));
        let mut candidates = directories
            .iter()
            .cloned()
            .chain(of_system)
            .flat_map(|directory| self.programs.iter().map(move |program| directory.join(program)));
        candidates.find(|path| path.is_file())
    }

    /// The command that starts it.
    pub(crate) fn command(&self, program: &Path, site: &Site<'_>) -> Command {
        let config = self.files.first().map(|(name, _)| site.directory.join(name)).unwrap_or_default();
        let fill = |text: &str| site.fill(text).trim_end().replace("@CONFIG@", &config.to_string_lossy());
        let mut command = match self.interpreter {
            Some(interpreter) => {
                let mut command = Command::new(interpreter);
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(self.arguments.iter().map(|argument| fill(argument)));
        command.envs(self.environment.iter().map(|(name, value)| (name, fill(value))));
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        template::Certificates,
        workload::{Sampled, Setup},
    };

    #[test]
    fn peers_are_asked_for_by_name_and_path() {
        assert_eq!("nginx".parse(), Ok(PeerOption { name: PeerName::Nginx, program: None }));
        assert_eq!("busbar=/opt/b".parse(), Ok(PeerOption { name: PeerName::Busbar, program: Some("/opt/b".into()) }));
        assert!("apache".parse::<PeerOption>().unwrap_err().contains("vllm-router"));
    }

    #[test]
    fn each_peer_can_be_run_and_installed() {
        for name in PeerName::gateways() {
            let peer = name.peer().unwrap();
            assert!(
                !peer.programs.is_empty() && !peer.install.is_empty() && peer.serves.contains(&Workload::Small),
                "{}",
                peer.title
            );
        }
        assert!(PeerName::Direct.peer().is_none());
    }

    #[test]
    fn a_collector_is_named_where_telemetry_is_measured_and_nowhere_else() {
        let endpoint = |setup| {
            let certificates = Certificates { ca: String::new(), certificate: String::new(), key: String::new() };
            let address = ([127, 0, 0, 1], 1).into();
            let site = Site {
                address,
                admin: address,
                engine_port: 2,
                directory: Path::new("/d"),
                setup,
                threads: 1,
                connections: 1,
                certificates: &certificates,
                key_set: String::new(),
            };
            let command = PAILOU.command(Path::new("pailou"), &site);
            let of = |wanted: &str| {
                let (_, value) = command.get_envs().find(|(name, _)| *name == wanted)?;
                value?.to_str().map(str::to_owned)
            };
            (
                of("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap(),
                of("OTEL_TRACES_SAMPLER_ARG").unwrap(),
                of("PAILOU_RECEIPTS_SAMPLE").unwrap(),
            )
        };
        let texts = |one: &str, two: &str, three: &str| (one.to_owned(), two.to_owned(), three.to_owned());
        assert_eq!(endpoint(Setup::Telemetry(Sampled::All)), texts("http://127.0.0.2:2", "1", "1"));
        assert_eq!(endpoint(Setup::Telemetry(Sampled::Hundredth)), texts("http://127.0.0.2:2", "0.01", "0.01"));
        for setup in [Setup::Clear, Setup::Tls, Setup::H2, Setup::Routes(2), Setup::Limits, Setup::Jwt(1)] {
            assert_eq!(endpoint(setup), texts("", "", "0.01"), "{setup:?}");
        }
    }
}
