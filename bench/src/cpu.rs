//! Processor time and memory as the kernel counts them, of a process and all that it started.

use std::{fs, io, process::Command, time::Duration};

/// Ticks per second in `/proc/stat`; the same on every Linux that runs Rust.
const TICKS: u64 = 100;

/// Processor time of a process and its descendants so far: the sum over their threads, to the nanosecond. It lacks that of
/// ended ones.
///
/// # Errors
/// The process is gone, or the kernel keeps no such count (`CONFIG_SCHED_INFO`).
pub(crate) fn of_tree(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for pid in tree(pid)? {
        // All but the first may end between being listed and being read, and so may threads.
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads {
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            total += number(text.split_ascii_whitespace().next())?;
        }
    }
    Ok(Duration::from_nanos(total))
}

/// Memory of a process and its descendants, in bytes, their programs' code included; shared memory counts for each.
///
/// # Errors
/// The process is gone.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    memory(pid, "VmRSS:")
}

/// The part of that memory in no file: heap and stacks.
///
/// # Errors
/// The process is gone.
pub(crate) fn anonymous(pid: u32) -> io::Result<u64> {
    memory(pid, "RssAnon:")
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

/// Moves this process to a core, for good.
///
/// # Errors
/// When there is no `taskset` or no such core.
pub(crate) fn pin_self(core: usize) -> io::Result<()> {
    let pid = std::process::id().to_string();
    run(Command::new("taskset").args(["--all-tasks", "--cpu-list", "--pid", &core.to_string(), &pid]))
}

/// Lets this process and what it starts have as many files open as it may, and says how many that is.
///
/// # Errors
/// When the limit cannot be read.
pub(crate) fn open_files() -> io::Result<u64> {
    let limits = || -> io::Result<(u64, u64)> {
        let text = fs::read_to_string("/proc/self/limits")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
        let mut fields = line.unwrap_or_default().split_ascii_whitespace();
        Ok((number(fields.next())?, number(fields.next())?))
    };
    let (soft, hard) = limits()?;
    if soft == hard {
        return Ok(soft);
    }
    let pid = std::process::id().to_string();
    // Without `prlimit` the soft limit stands.
    let _ = run(Command::new("prlimit").args([&format!("--nofile={hard}:{hard}"), "--pid", &pid]));
    Ok(limits()?.0)
}

/// Sends a signal, named without `SIG`, to all processes of the group that a process leads.
///
/// # Errors
/// When there are none any more.
pub(crate) fn signal_group(pid: u32, signal: &str) -> io::Result<()> {
    run(Command::new("sh").args(["-c", "kill -s \"$1\" -- \"-$0\"", &pid.to_string(), signal]))
}

/// A process and its descendants.
fn tree(pid: u32) -> io::Result<Vec<u32>> {
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(&pid) = found.get(at) {
        match fs::read_dir(format!("/proc/{pid}/task")) {
            Ok(threads) => {
                for thread in threads {
                    let children = fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
                    found.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
                }
            }
            Err(error) if at == 0 => return Err(error),
            Err(_) => {}
        }
        at += 1;
    }
    Ok(found)
}

/// The sum of this line of the kernel's report over a process and its descendants, in bytes.
fn memory(pid: u32, field: &str) -> io::Result<u64> {
    let mut total = 0;
    for pid in tree(pid)? {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        total += number(line.and_then(|line| line.split_ascii_whitespace().next())).unwrap_or_default() << 10;
    }
    Ok(total)
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())) }
}

fn number(field: Option<&str>) -> io::Result<u64> {
    field.and_then(|field| field.parse().ok()).ok_or_else(|| io::Error::other("not a number where the kernel should give one"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use super::*;

    #[test]
    fn work_is_seen_in_the_time_used() {
        let pid = std::process::id();
        let before = of_tree(pid).unwrap();
        while of_tree(pid).unwrap() == before {}
        assert!(of_core(0).unwrap() > Duration::ZERO);
        assert!(anonymous(pid).unwrap() > 1 << 12);
        assert!(resident(pid).unwrap() > anonymous(pid).unwrap());
    }

    #[test]
    fn what_children_hold_counts_too() {
        let mut child = Command::new("sh").args(["-c", "sleep 60; true"]).process_group(0).spawn().unwrap();
        // The shell starts its own child after it was started itself.
        while tree(child.id()).unwrap().len() < 2 {}
        assert!(tree(std::process::id()).unwrap().contains(&child.id()));
        assert!(resident(child.id()).unwrap() > 0);
        signal_group(child.id(), "KILL").unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
