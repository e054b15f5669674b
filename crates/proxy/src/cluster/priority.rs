//! How requests are shared out among priorities, as Envoy documents it: priority levels, over-provisioning, panic.

/// A level is held to be whole with this share of its endpoints healthy times this, percent: 1 in 1.4 is 72 %.
const OVER_PROVISIONING: usize = 140;

/// Capacity of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Endpoints.
    pub(super) total: usize,
    /// Of which healthy.
    pub(super) healthy: usize,
}

impl Census {
    /// Something that is never short of health.
    pub(crate) const WHOLE: Self = Self { total: 1, healthy: 1 };
}

impl std::ops::Add for Census {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { total: self.total + other.total, healthy: self.healthy + other.healthy }
    }
}

/// Share of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Its part of the requests, against the sum over all levels.
    pub(super) weight: u32,
    /// Too few are healthy: all are used.
    pub(super) panic: bool,
}

/// Shares requests out among levels, the most preferred first. `panic_threshold` in percent; 0 never panics.
pub(super) fn shares(levels: &[Census], panic_threshold: u8) -> Vec<Share> {
    let health: Vec<usize> = levels.iter().map(|level| (level.healthy * OVER_PROVISIONING / level.total.max(1)).min(100)).collect();
    let available = health.iter().sum::<usize>().min(100);
    // Levels that can carry everything between them never panic, however few of one are healthy.
    let panics = |level: &Census| available < 100 && level.healthy * 100 < usize::from(panic_threshold) * level.total;
    if levels.iter().all(panics) {
        return levels.iter().map(|level| Share { weight: clamp(level.total), panic: true }).collect();
    }
    if available == 0 {
        // Without panic the few that are healthy, less than one in 140, carry it all.
        return levels.iter().map(|level| Share { weight: clamp(level.healthy), panic: false }).collect();
    }
    let mut left = 100;
    let mut shares: Vec<Share> = levels
        .iter()
        .zip(&health)
        .map(|(level, health)| {
            let weight = left.min(health * 100 / available);
            left -= weight;
            Share { weight: clamp(weight), panic: panics(level) }
        })
        .collect();
    // The remainder of rounding.
    if let Some(first) = shares.iter_mut().find(|share| share.weight > 0) {
        first.weight += clamp(left);
    }
    shares
}

fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(levels: &[(usize, usize)]) -> Vec<(u32, bool)> {
        let levels: Vec<_> = levels.iter().map(|&(healthy, total)| Census { total, healthy }).collect();
        shares(&levels, 50).into_iter().map(|share| (share.weight, share.panic)).collect()
    }

    #[test]
    fn fallbacks_get_nothing_while_72_percent_of_the_primary_are_healthy() {
        assert_eq!(weights(&[(72, 100), (100, 100)]), [(100, false), (0, false)]);
        assert_eq!(weights(&[(71, 100), (100, 100)]), [(99, false), (1, false)]);
    }

    #[test]
    fn requests_spill_over_as_in_envoys_documentation() {
        // The tables of Envoy's "Priority levels", of 100 endpoints each.
        assert_eq!(weights(&[(25, 100), (100, 100)]), [(35, false), (65, false)]);
        assert_eq!(weights(&[(0, 100), (100, 100)]), [(0, false), (100, false)]);
        // 35 and 35 of 100: normalised to 50 each, and too few in both.
        assert_eq!(weights(&[(25, 100), (25, 100)]), [(100, true), (100, true)]);
        assert_eq!(weights(&[(72, 100), (72, 100), (100, 100)]), [(100, false), (0, false), (0, false)]);
        assert_eq!(weights(&[(25, 100), (25, 100), (100, 100)]), [(35, false), (35, false), (30, false)]);
    }

    #[test]
    fn a_single_level_panics_below_its_threshold_only() {
        assert_eq!(weights(&[(5, 10)]), [(100, false)]);
        assert_eq!(weights(&[(4, 10)]), [(10, true)]);
    }

    #[test]
    fn without_panic_nothing_healthy_gets_nothing() {
        let levels = [Census { total: 10, healthy: 0 }];
        assert_eq!(shares(&levels, 0), [Share { weight: 0, panic: false }]);
        assert_eq!(shares(&[], 50), []);
        let levels = [Census { total: 200, healthy: 1 }];
        assert_eq!(shares(&levels, 0), [Share { weight: 1, panic: false }]);
    }
}
