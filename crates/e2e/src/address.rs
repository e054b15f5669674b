//! Addresses that no other test uses.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Addresses that one process hands out.
const PER_PROCESS: u32 = 1 << 11;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A loopback address of its own, in 127.64.0.0/10: process and serial number are in it.
pub fn loopback() -> Ipv4Addr {
    let serial = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(serial < PER_PROCESS, "the tests of one process take at most {PER_PROCESS} addresses");
    let process = std::process::id() % (1 << 11);
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) + process * PER_PROCESS + serial)
}
