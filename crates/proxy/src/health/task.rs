//! When an endpoint is checked, and what its checks add up to.

use std::{sync::Weak, time::Duration};

use pailou_snapshot::ActiveCheck;
use tokio::sync::Semaphore;

use super::probe;
use crate::{
    cluster::{ClusterState, EndpointState},
    dns::Dns,
};

/// Probes under way at once, over all clusters.
static PROBES: Semaphore = Semaphore::const_new(256);

/// Checks an endpoint until it or its cluster is gone.
pub(super) async fn run(cluster: Weak<ClusterState>, endpoint: Weak<EndpointState>, check: ActiveCheck, dns: Dns) {
    let mut tally = Tally::default();
    // A new endpoint is checked soon, but not all of a hundred at the same moment.
    let mut pause = jitter(check.interval);
    loop {
        tokio::time::sleep(pause).await;
        let Ok(_permit) = PROBES.acquire().await else { return };
        let (Some(cluster), Some(endpoint)) = (cluster.upgrade(), endpoint.upgrade()) else { return };
        let result = probe::probe(&cluster.current_settings(), &endpoint, &check, &dns).await;
        if let Err(error) = &result {
            let name = &endpoint.endpoint().name;
            tracing::debug!(cluster = %cluster.key().endpoints, endpoint = %name, error = %error, "health check failed");
        }
        let healthy = tally.count(&check, endpoint.passes_checks(), result.is_ok());
        cluster.set_passes_checks(&endpoint, healthy);
        pause = check.interval.saturating_add(jitter(check.interval));
    }
}

/// Up to a tenth of the interval, so that replicas of the gateway do not keep step.
fn jitter(interval: Duration) -> Duration {
    interval.mul_f64(fastrand::f64() / 10.0)
}

/// Results of the same kind in a row.
#[derive(Debug, Default)]
struct Tally {
    checked: bool,
    passes: u32,
    failures: u32,
}

impl Tally {
    /// Counts a result and says whether the endpoint is healthy from here on. The first result decides by itself.
    fn count(&mut self, check: &ActiveCheck, healthy: bool, passed: bool) -> bool {
        let first = !std::mem::replace(&mut self.checked, true);
        if passed {
            self.failures = 0;
            self.passes = self.passes.saturating_add(1);
            healthy || first || self.passes >= check.healthy_threshold
        } else {
            self.passes = 0;
            self.failures = self.failures.saturating_add(1);
            healthy && !first && self.failures < check.unhealthy_threshold
        }
    }
}

#[cfg(test)]
mod tests {
    use pailou_snapshot::HealthProbe;

    use super::*;

    fn verdicts(results: &[bool]) -> Vec<bool> {
        let check = ActiveCheck {
            timeout: Duration::from_secs(1),
            interval: Duration::from_secs(3),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            probe: HealthProbe::Tcp,
        };
        let mut tally = Tally::default();
        let mut healthy = true;
        results
            .iter()
            .map(|&passed| {
                healthy = tally.count(&check, healthy, passed);
                healthy
            })
            .collect()
    }

    #[test]
    fn the_first_check_decides_by_itself() {
        assert_eq!(verdicts(&[false]), [false]);
        assert_eq!(verdicts(&[true]), [true]);
    }

    #[test]
    fn later_ones_need_their_threshold_in_a_row() {
        assert_eq!(verdicts(&[true, false, false, true, false, false, false]), [true, true, true, true, true, true, false]);
        assert_eq!(verdicts(&[false, true, false, true, true]), [false, false, false, false, true]);
    }
}
