//! Sets of endpoints, by slot.

use smallvec::SmallVec;

/// A set of slots; up to 128 take no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots(SmallVec<[u64; 2]>);

impl Slots {
    pub(super) fn add(&mut self, slot: u16) {
        let (word, bit) = place(slot);
        // One by one: mostly it is one.
        while word >= self.0.len() {
            self.0.push(0);
        }
        self.0[word] |= bit;
    }

    pub(super) fn remove(&mut self, slot: u16) {
        let (word, bit) = place(slot);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    pub(super) fn contains(&self, slot: u16) -> bool {
        let (word, bit) = place(slot);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether both have the same slots, whatever room they have for others.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let (short, long) = if self.0.len() < other.0.len() { (&self.0, &other.0) } else { (&other.0, &self.0) };
        let (same, rest) = long.split_at(short.len());
        same == &**short && rest.iter().all(|word| *word == 0)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().enumerate().flat_map(|(at, word)| bits(at, *word))
    }

    /// Those that are not in the other set.
    pub(super) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = u16> + 'a {
        let other = |at| other.0.get(at).copied().unwrap_or(0);
        self.0.iter().enumerate().flat_map(move |(at, word)| bits(at, word & !other(at)))
    }

    fn retain(&mut self, kept: &Self) {
        for (at, word) in self.0.iter_mut().enumerate() {
            *word &= kept.0.get(at).copied().unwrap_or(0);
        }
    }
}

/// Endpoints that have a block: mostly one, which takes no allocation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owners {
    /// This slot.
    One(u16),
    /// These.
    Many(Box<Slots>),
}

impl Owners {
    pub(super) fn add(&mut self, slot: u16) {
        match self {
            Self::One(only) if *only == slot => {}
            Self::One(only) => {
                let mut slots = Slots::default();
                slots.add(*only);
                slots.add(slot);
                *self = Self::Many(Box::new(slots));
            }
            Self::Many(slots) => slots.add(slot),
        }
    }

    /// Removes a slot; true if none is left.
    pub(super) fn remove(&mut self, slot: u16) -> bool {
        match self {
            Self::One(only) => *only == slot,
            Self::Many(slots) => {
                slots.remove(slot);
                slots.is_empty()
            }
        }
    }

    pub(super) fn slots(&self) -> Slots {
        match self {
            Self::One(only) => {
                let mut slots = Slots::default();
                slots.add(*only);
                slots
            }
            Self::Many(slots) => Slots::clone(slots),
        }
    }

    /// Leaves in a set only those who have the block.
    pub(super) fn retain_in(&self, holders: &mut Slots) {
        match self {
            Self::One(only) => {
                let held = holders.contains(*only);
                holders.clear();
                if held {
                    holders.add(*only);
                }
            }
            Self::Many(slots) => holders.retain(slots),
        }
    }
}

fn place(slot: u16) -> (usize, u64) {
    (usize::from(slot / 64), 1 << (slot % 64))
}

fn bits(at: usize, mut word: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some((at * 64) as u16 + bit as u16)
    })
}
