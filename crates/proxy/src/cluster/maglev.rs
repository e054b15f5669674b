//! Maglev's lookup table: a key always leads to the same endpoint, and few keys move when endpoints come or go
//! (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4).

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// A table from keys to endpoints, built from every endpoint of a level whatever its health: an endpoint that may not be used
/// is stepped over at look-up, so that health moves just the keys it must.
#[derive(Debug)]
pub(super) struct Maglev {
    slots: Box<[u32]>,
}

/// Steps of a look-up over endpoints that cannot be used, before any that can is taken.
const STEPS: u64 = 64;

impl Maglev {
    /// Fills a table of `size` slots, a prime, by the endpoints' names. `None` for no endpoints, or a table of no slots.
    pub(super) fn build(names: &[String], size: u32) -> Option<Self> {
        if names.is_empty() || size == 0 {
            return None;
        }
        let slots = u64::from(size);
        // Each endpoint's own order of the slots: an offset and a step, which reach every slot as the size is prime.
        let mut turns: Vec<(u64, u64)> = names
            .iter()
            .map(|name| (xxh3_64(name.as_bytes()) % slots, xxh3_64_with_seed(name.as_bytes(), 1) % (slots - 1).max(1) + 1))
            .collect();
        let mut table = vec![u32::MAX; size as usize].into_boxed_slice();
        let mut free = table.len();
        for (index, turn) in (0..names.len()).cycle().map(|index| (index as u32, index)) {
            let (next, step) = &mut turns[turn];
            // A size that is no prime may leave an endpoint's order without a free slot; it then passes.
            for _ in 0..slots {
                let slot = *next as usize;
                *next = (*next + *step) % slots;
                if table[slot] == u32::MAX {
                    table[slot] = index;
                    free -= 1;
                    break;
                }
            }
            if free == 0 {
                break;
            }
        }
        Some(Self { slots: table })
    }

    /// The endpoint a key leads to, of those that can be used.
    pub(super) fn find(&self, hash: u64, usable: impl Fn(usize) -> bool) -> Option<usize> {
        let slots = self.slots.len() as u64;
        (0..STEPS)
            .map(|step| if step == 0 { hash } else { xxh3_64_with_seed(&hash.to_le_bytes(), step) })
            .map(|hash| self.slots[(hash % slots) as usize] as usize)
            .find(|&index| usable(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("10.0.0.{index}:8000")).collect()
    }

    fn key(number: u64) -> u64 {
        xxh3_64(&number.to_le_bytes())
    }

    #[test]
    fn slots_are_shared_out_evenly() {
        let table = Maglev::build(&names(10), 65537).unwrap();
        let mut counts = [0_u32; 10];
        table.slots.iter().for_each(|&index| counts[index as usize] += 1);
        assert!(counts.iter().all(|&count| (6553..=6554).contains(&count)), "{counts:?}");
    }

    #[test]
    fn removing_one_of_ten_endpoints_moves_few_keys_of_the_others() {
        let (before, mut kept) = (names(10), names(10));
        kept.remove(3);
        let (old, new) = (Maglev::build(&before, 65537).unwrap(), Maglev::build(&kept, 65537).unwrap());
        let moved = (0..20_000)
            .filter(|&number| {
                let was = &before[old.find(key(number), |_| true).unwrap()];
                let is = &kept[new.find(key(number), |_| true).unwrap()];
                was != is
            })
            .count();
        // A tenth has to move.
        assert!((1_900..=2_400).contains(&moved), "{moved} of 20000 keys moved");
    }

    #[test]
    fn an_unusable_endpoint_moves_its_own_keys_only_and_spreads_them() {
        let table = Maglev::build(&names(10), 65537).unwrap();
        let mut heirs = [0_u32; 10];
        for number in 0..20_000 {
            let was = table.find(key(number), |_| true).unwrap();
            let is = table.find(key(number), |index| index != 3).unwrap();
            if was == 3 {
                heirs[is] += 1;
            } else {
                assert_eq!(was, is);
            }
        }
        assert_eq!(heirs[3], 0);
        assert!(heirs.iter().enumerate().all(|(index, &count)| index == 3 || count > 100), "{heirs:?}");
    }

    #[test]
    fn tables_that_cannot_be_shared_evenly_are_still_full() {
        assert!(Maglev::build(&[], 65537).is_none());
        assert!(Maglev::build(&names(3), 0).is_none());
        for size in [1, 2, 4, 12] {
            let table = Maglev::build(&names(3), size).unwrap();
            assert!(table.slots.iter().all(|&index| index < 3), "{:?}", table.slots);
        }
    }
}
