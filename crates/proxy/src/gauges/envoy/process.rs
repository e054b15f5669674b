//! Figures of the process, as `envoy_server_*`.

use std::{fmt, fs, sync::LazyLock, time::Instant};

use pailou_telemetry::metric_table::gauges;
use prometheus_client::encoding::DescriptorEncoder;

/// When the first proxy of the process was started, or near it.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Notes when the process began.
pub(in crate::gauges) fn note_start() {
    LazyLock::force(&STARTED);
}

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut write = |name, help, value| gauges(encoder, name, help, [([("process", "pailou")], value)]);
    write("envoy_server_live", "1", 1.0)?;
    write("envoy_server_uptime", "Seconds since the process began", STARTED.elapsed().as_secs() as f64)?;
    // Not on every system.
    let Some(resident) = resident_bytes() else { return Ok(()) };
    for name in ["envoy_server_memory_allocated", "envoy_server_memory_heap_size"] {
        write(name, "Memory of the process that is resident but not of files, in bytes", resident)?;
    }
    Ok(())
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix(" kB")?.parse::<f64>().ok().map(|kilobytes| kilobytes * 1024.0)
}
