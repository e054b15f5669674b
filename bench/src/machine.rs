//! Machine and time of the measurement.

use std::{fmt, fs};

use serde::Serialize;

/// The machine of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    /// As given on the command line: the program has no say in it.
    pub(crate) date: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) kernel: String,
    /// Whether the gateway had a core that load and engine did not use.
    pub(crate) pinned: bool,
}

impl Machine {
    /// This machine, not pinned so far.
    pub(crate) fn this(date: &str) -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            date: date.to_owned(),
            processor: model.map_or("unknown processor", |(_, name)| name.trim()).to_owned(),
            // Not those this program may run on, which after pinning is one.
            processors: cpus.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: kernel.trim().to_owned(),
            pinned: false,
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { date, processor, processors, kernel, pinned } = self;
        let pinned = if *pinned { "" } else { ", NOT PINNED" };
        write!(f, "{date}: {processor}, {processors} processors, Linux {kernel}{pinned}")
    }
}
