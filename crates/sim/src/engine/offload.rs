//! Blocks kept beyond the GPU, as vLLM's offloading keeps them: each that becomes full is written to the CPU's memory; the least recently
//! used of those goes on to the disk, and from there away.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::block_event::{BlockEvent, Tier};

/// Room of the slower tiers, and the time that their blocks take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OffloadLimits {
    /// Blocks in the CPU's memory.
    pub cpu_blocks: u32,
    /// Blocks on the disk.
    pub disk_blocks: u32,
    /// Microseconds that a token takes on its way back to the GPU.
    pub load_us_per_token: f64,
}

/// The slower tiers, the faster first.
pub(super) struct Offload {
    tiers: [(Tier, Lru); 2],
    pub(super) load_us_per_token: f64,
}

/// Hashes, the least recently used first.
struct Lru {
    most: usize,
    by_use: BTreeMap<u64, u64>,
    uses: HashMap<u64, u64>,
    clock: u64,
}

impl Offload {
    pub(super) fn new(limits: OffloadLimits) -> Self {
        let OffloadLimits { cpu_blocks, disk_blocks, load_us_per_token } = limits;
        Self { tiers: [(Tier::Cpu, Lru::new(cpu_blocks)), (Tier::Disk, Lru::new(disk_blocks))], load_us_per_token }
    }

    /// Blocks at the beginning of these that are in a slower tier.
    pub(super) fn find(&mut self, hashes: &[u64]) -> u32 {
        let mut is_there = |hash: &&u64| self.tiers.iter_mut().any(|(_, tier)| tier.touch(**hash));
        hashes.iter().take_while(|hash| is_there(hash)).count() as u32
    }

    /// Writes blocks that have become full; notes what changes.
    pub(super) fn store(&mut self, hashes: &[u64], events: &mut Vec<BlockEvent>) {
        hashes.iter().for_each(|hash| self.put(0, *hash, events));
    }

    pub(super) fn clear(&mut self) {
        for (_, tier) in &mut self.tiers {
            *tier = Lru::new(tier.most as u32);
        }
    }

    fn put(&mut self, place: usize, hash: u64, events: &mut Vec<BlockEvent>) {
        let Some((tier, lru)) = self.tiers.get_mut(place) else { return };
        if lru.most == 0 {
            return self.put(place + 1, hash, events);
        }
        if lru.touch(hash) {
            return;
        }
        let tier = *tier;
        let evicted = lru.insert(hash);
        events.push(BlockEvent::Offloaded { hash, tier });
        if let Some(evicted) = evicted {
            // It is somewhere at any time, so that its hash stays known.
            self.put(place + 1, evicted, events);
            events.push(BlockEvent::Removed { hashes: vec![evicted], tier });
        }
    }
}

impl Lru {
    fn new(most: u32) -> Self {
        Self { most: most as usize, by_use: BTreeMap::new(), uses: HashMap::new(), clock: 0 }
    }

    /// Uses a hash; whether it is there.
    fn touch(&mut self, hash: u64) -> bool {
        let Some(used) = self.uses.get_mut(&hash) else { return false };
        self.by_use.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.by_use.insert(self.clock, hash);
        true
    }

    /// Adds a hash; gives the one that makes room for it.
    fn insert(&mut self, hash: u64) -> Option<u64> {
        self.clock += 1;
        self.uses.insert(hash, self.clock);
        self.by_use.insert(self.clock, hash);
        if self.uses.len() <= self.most {
            return None;
        }
        let (_, evicted) = self.by_use.pop_first()?;
        self.uses.remove(&evicted);
        Some(evicted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_from_tier_to_tier_and_are_found_in_each() {
        let mut offload = Offload::new(OffloadLimits { cpu_blocks: 2, disk_blocks: 1, load_us_per_token: 0.0 });
        let mut events = Vec::new();
        offload.store(&[1, 2], &mut events);
        assert_eq!(offload.find(&[1, 2, 3]), 2);
        // 2 was used last.
        offload.store(&[2, 3], &mut events);
        assert_eq!((offload.find(&[2]), offload.find(&[3]), offload.find(&[1])), (1, 1, 1));
        offload.store(&[4], &mut events);
        assert_eq!((offload.find(&[1]), offload.find(&[2]), offload.find(&[4])), (0, 1, 1));
        let stored = |hash, tier| BlockEvent::Offloaded { hash, tier };
        let removed = |hash, tier| BlockEvent::Removed { hashes: vec![hash], tier };
        let expected = [
            stored(1, Tier::Cpu),
            stored(2, Tier::Cpu),
            stored(3, Tier::Cpu),
            stored(1, Tier::Disk),
            removed(1, Tier::Cpu),
            stored(4, Tier::Cpu),
            stored(2, Tier::Disk),
            removed(1, Tier::Disk),
            removed(2, Tier::Cpu),
        ];
        assert_eq!(events, expected);
        offload.clear();
        assert_eq!(offload.find(&[4]), 0);
    }

    #[test]
    fn a_tier_without_room_is_passed_over() {
        let mut offload = Offload::new(OffloadLimits { cpu_blocks: 0, disk_blocks: 1, load_us_per_token: 0.0 });
        let mut events = Vec::new();
        offload.store(&[1, 2], &mut events);
        assert_eq!((offload.find(&[1]), offload.find(&[2])), (0, 1));
        assert_eq!(events.len(), 3);
    }
}
