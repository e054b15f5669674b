//! TCP keepalive of either side, in the bounds that Linux sets: it refuses others, and they would cost the connection.

use std::time::Duration;

use pailou_api::envoy::client_traffic_policy::TcpKeepalive;
use pailou_snapshot::ClientKeepalive;

/// The longest time before a probe, in seconds (Linux, `MAX_TCP_KEEPIDLE` and `MAX_TCP_KEEPINTVL`).
const MAX_SECONDS: u64 = 32_767;
/// Most probes (Linux, `MAX_TCP_KEEPCNT`).
const MAX_PROBES: u32 = 127;

/// Settings of clients' connections.
pub(crate) fn of_clients(spec: TcpKeepalive) -> ClientKeepalive {
    ClientKeepalive {
        idle: spec.idle_time.and_then(|it| time(it.as_std())),
        interval: spec.interval.and_then(|it| time(it.as_std())),
        probes: spec.probes.filter(|probes| *probes > 0).map(|probes| probes.min(MAX_PROBES)),
    }
}

/// Idle time before the first probe of a connection to a backend; `None` where the system's holds.
pub(crate) fn idle_time(spec: TcpKeepalive) -> Option<Duration> {
    spec.idle_time.and_then(|it| time(it.as_std()))
}

/// Whether a time is rounded or cut. 0 is the system's own.
pub(crate) fn is_time_changed(asked: Option<pailou_api::Duration>) -> bool {
    asked.is_some_and(|it| time(it.as_std()).unwrap_or_default() != it.as_std())
}

/// Whether the probes are more than the system sends.
pub(crate) fn are_probes_changed(asked: Option<u32>) -> bool {
    asked.is_some_and(|probes| probes > MAX_PROBES)
}

/// Whole seconds, at least one; the system takes no others.
fn time(asked: Duration) -> Option<Duration> {
    (!asked.is_zero()).then(|| Duration::from_secs(asked.as_secs().clamp(1, MAX_SECONDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_would_refuse_becomes_the_nearest_that_it_takes() {
        let spec = |idle: &str, interval: &str, probes| TcpKeepalive {
            probes: Some(probes),
            idle_time: Some(idle.parse().unwrap()),
            interval: Some(interval.parse().unwrap()),
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(
            of_clients(spec("24h", "500ms", 200)),
            ClientKeepalive { idle: seconds(32_767), interval: seconds(1), probes: Some(127) }
        );
        assert_eq!(of_clients(spec("0s", "0s", 0)), ClientKeepalive::default(), "the system's own");
        let kept = spec("60s", "7s", 3);
        assert_eq!(of_clients(kept), ClientKeepalive { idle: seconds(60), interval: seconds(7), probes: Some(3) });
        assert!(!is_time_changed(kept.idle_time) && !are_probes_changed(kept.probes) && !is_time_changed(None));
        let far = spec("24h", "1500ms", 128);
        assert!(is_time_changed(far.idle_time) && is_time_changed(far.interval) && are_probes_changed(far.probes));
        assert_eq!((idle_time(far), idle_time(spec("0s", "1s", 1))), (seconds(32_767), None));
    }
}
