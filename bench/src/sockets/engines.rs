//! Simulated engines, a process each.

use std::{io, net::SocketAddr, path::Path, process::Command};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{load::Shape, site::Site};
use crate::{error::Error, process::Process};

/// Prompt tokens that were looked up, and of them found, of vLLM's metrics.
const QUERIES: &str = "vllm:prefix_cache_queries_total";
const HITS: &str = "vllm:prefix_cache_hits_total";

/// Running engines; they end when dropped.
pub(super) struct Engines {
    addresses: Vec<SocketAddr>,
    _processes: Vec<Process>,
}

/// Counters of all engines together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CacheCounters {
    pub(super) queries: f64,
    pub(super) hits: f64,
}

impl Engines {
    /// Starts them, with empty caches.
    ///
    /// # Errors
    /// One does not start.
    pub(super) fn start(pailou: &Path, site: &Site, shape: &Shape) -> Result<Self, Error> {
        let mut processes = Vec::new();
        let addresses: Vec<SocketAddr> = (0..site.engines).map(|index| site.engine(index).into()).collect();
        for (index, address) in addresses.iter().enumerate() {
            let name = format!("engine-{index}");
            let events = |port| format!("{}:{port}", address.ip());
            let mut command = Command::new(pailou);
            command.args(["sim", "--listen", &address.to_string(), "--name", &name, "--max-model-len", "131072"]);
            command.args(["--num-blocks", &shape.blocks.to_string()]);
            command.args(["--output-tokens", &shape.output_tokens.to_string(), &shape.output_tokens.to_string()]);
            command.args(["--kv-events-listen", &events(site.events_port)]);
            command.args(["--kv-events-replay-listen", &events(site.replay_port)]);
            command.args(shape.instant.then_some("--instant"));
            let log = site.directory.join(&name);
            processes.push(Process::spawn(command, &log, &[]).map_err(|source| Error::Start { name, source })?);
        }
        Ok(Self { addresses, _processes: processes })
    }

    /// Their addresses.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Sum of their counters so far.
    ///
    /// # Errors
    /// One does not answer.
    pub(super) async fn counters(&self) -> io::Result<CacheCounters> {
        let mut sum = CacheCounters::default();
        for address in &self.addresses {
            let page = metrics(*address).await?;
            sum.queries += counter(&page, QUERIES)?;
            sum.hits += counter(&page, HITS)?;
        }
        Ok(sum)
    }
}

async fn metrics(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}

/// The sum of a counter's series.
fn counter(page: &str, name: &str) -> io::Result<f64> {
    let series = page.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
    let mut values = series.map(|line| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok())).peekable();
    if values.peek().is_none() {
        return Err(io::Error::other(format!("an engine without {name}")));
    }
    values.sum::<Option<f64>>().ok_or_else(|| io::Error::other(format!("{name} is no number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_their_series() {
        let page = "# TYPE a_total counter\na_total{m=\"x\"} 3\na_total{m=\"y\"} 4.5\na_total_more 9\n";
        assert_eq!(counter(page, "a_total").unwrap(), 7.5);
        assert!(counter(page, "b_total").is_err());
    }
}
