//! Cost of work, whatever else the machine does.

use std::{fs, time::Duration};

/// The processor time that this thread has taken (Linux, `proc_pid_schedstat`).
pub(crate) fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("the system tells");
    let taken = stat.split_ascii_whitespace().next().and_then(|taken| taken.parse().ok());
    Duration::from_nanos(taken.expect("nanoseconds stand first"))
}
