//! Processor time as the kernel counts it.

use std::{fs, io, process::Command, time::Duration};

/// Ticks per second in `/proc/stat`; the same on every Linux that runs Rust.
const TICKS: u64 = 100;

/// Processor time a process has used so far: the sum over its threads, to the nanosecond.
///
/// # Errors
/// When the process is gone or the kernel keeps no such count (`CONFIG_SCHED_INFO`).
pub(crate) fn of_process(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between being listed and being read.
        let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        total += number(text.split_ascii_whitespace().next())?;
    }
    Ok(Duration::from_nanos(total))
}

/// Time a processor was busy so far, with whatever; to a hundredth of a second.
///
/// # Errors
/// When there is no such processor.
pub(crate) fn of_core(core: usize) -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let name = format!("cpu{core}");
    let mut fields = text
        .lines()
        .map(str::split_ascii_whitespace)
        .find_map(|mut fields| (fields.next()? == name).then_some(fields))
        .ok_or_else(|| io::Error::other(format!("no {name}")))?;
    // user nice system, not idle and iowait, irq softirq steal
    let mut busy = 0;
    for field in [0, 0, 0, 2, 0, 0] {
        busy += number(fields.nth(field))?;
    }
    Ok(Duration::from_millis(busy * 1000 / TICKS))
}

/// Memory a process holds, in bytes.
///
/// # Errors
/// When the process is gone.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(number(line.and_then(|line| line.split_ascii_whitespace().next()))? << 10)
}

/// Moves this process to a core, for good.
///
/// # Errors
/// When there is no `taskset` or no such core.
pub(crate) fn pin_self(core: usize) -> io::Result<()> {
    let pid = std::process::id().to_string();
    let output = Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", &core.to_string(), &pid]).output()?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())) }
}

fn number(field: Option<&str>) -> io::Result<u64> {
    field.and_then(|field| field.parse().ok()).ok_or_else(|| io::Error::other("not a number where the kernel should give one"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen_in_the_time_used() {
        let pid = std::process::id();
        let before = of_process(pid).unwrap();
        while of_process(pid).unwrap() == before {}
        assert!(of_core(0).unwrap() > Duration::ZERO);
        assert!(resident(pid).unwrap() > 1 << 16);
    }
}
