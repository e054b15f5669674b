//! Publishers (an endpoint's data-parallel rank each), their owners (a KV cache group each) and lanes (an owner's block size each).
//!
//! Clearing a publisher ends its lanes at once; their records are dead from then on and are freed step by step. A lane's number is
//! given again once it has no record left.

use super::token_chain::MAX_UNIT;

/// Most publishers of an index.
pub(super) const MAX_PUBLISHERS: usize = 16_384;
/// Most lanes of an index, with those that have ended and not been freed.
const MAX_LANES: usize = 65_535;
/// Most KV cache groups and block sizes of one publisher.
const MAX_LANES_OF_PUBLISHER: usize = 32;

/// An engine's stream of events: of one endpoint and data-parallel rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublisherId(pub(super) u16);

/// Blocks of one size of one owner.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) publisher: PublisherId,
    pub(super) group: u16,
    /// Place among [`Publishers::owners`].
    pub(super) owner: u16,
    pub(super) block_size: u32,
    pub(super) records: u32,
    /// Whether its records count.
    pub(super) is_live: bool,
}

impl Lane {
    /// Tokens between two blocks that the index finds: small blocks are found in sixteens.
    pub(super) fn span(&self) -> u32 {
        if self.is_aggregated() { MAX_UNIT } else { self.block_size }
    }

    /// Whether a block whose end has this remainder by 16 is found by its tokens.
    pub(super) fn is_found_at(&self, offset: u16) -> bool {
        offset == 0 || !self.is_aggregated()
    }

    fn is_aggregated(&self) -> bool {
        self.block_size < MAX_UNIT && MAX_UNIT.is_multiple_of(self.block_size)
    }
}

/// Distances in which a lookup moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stride {
    /// Tokens between two lookups; divides all spans.
    pub(super) step: u32,
    /// The longest span.
    pub(super) longest: u32,
}

/// A publisher's KV cache group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) publisher: PublisherId,
    /// The span of its only lane; `None` if it has several.
    pub(super) span: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Publishers {
    pub(super) lanes: Vec<Lane>,
    /// `None` may be given again.
    pub(super) owners: Vec<Option<Owner>>,
    /// The live lanes of each publisher; `None` may be given again.
    lanes_of: Vec<Option<Vec<u16>>>,
    /// Whether blocks of each publisher are missing, since it was last cleared.
    has_lost: Vec<bool>,
    ended_lanes: Vec<u16>,
    /// Records of lanes that have ended.
    pub(super) dead_records: u32,
}

impl Publishers {
    pub(super) fn add(&mut self) -> Option<PublisherId> {
        let number = self.lanes_of.iter().position(Option::is_none).unwrap_or(self.lanes_of.len());
        if number == MAX_PUBLISHERS {
            return None;
        }
        if number == self.lanes_of.len() {
            self.lanes_of.push(None);
            self.has_lost.push(false);
        }
        self.lanes_of[number] = Some(Vec::new());
        self.has_lost[number] = false;
        Some(PublisherId(number as u16))
    }

    pub(super) fn remove(&mut self, publisher: PublisherId) {
        self.clear(publisher);
        self.lanes_of[usize::from(publisher.0)] = None;
    }

    /// Ends all lanes.
    pub(super) fn clear_all(&mut self) {
        (0..self.lanes_of.len()).for_each(|number| self.clear(PublisherId(number as u16)));
    }

    /// Ends a publisher's lanes.
    pub(super) fn clear(&mut self, publisher: PublisherId) {
        let Some(lanes) = &mut self.lanes_of[usize::from(publisher.0)] else { return };
        self.has_lost[usize::from(publisher.0)] = false;
        for number in lanes.drain(..) {
            let lane = &mut self.lanes[usize::from(number)];
            lane.is_live = false;
            self.dead_records += lane.records;
            self.owners[usize::from(lane.owner)] = None;
            if lane.records == 0 {
                self.ended_lanes.push(number);
            }
        }
    }

    /// Notes that a publisher's blocks are missing.
    pub(super) fn lose(&mut self, publisher: PublisherId) {
        self.has_lost[usize::from(publisher.0)] = true;
    }

    /// Whether any is missing.
    pub(super) fn has_lost(&self, publisher: PublisherId) -> bool {
        self.has_lost.get(usize::from(publisher.0)).is_some_and(|has_lost| *has_lost)
    }

    /// The lane of these blocks, made if there is none. `None`: there are too many, or no such publisher.
    pub(super) fn lane(&mut self, publisher: PublisherId, group: u16, block_size: u32) -> Option<u16> {
        let own = self.lanes_of[usize::from(publisher.0)].as_ref()?;
        let lane = |number: &u16| &self.lanes[usize::from(*number)];
        if let Some(number) = own.iter().find(|number| lane(number).group == group && lane(number).block_size == block_size) {
            return Some(*number);
        }
        let owner = own.iter().map(lane).find(|lane| lane.group == group).map(|lane| lane.owner);
        if own.len() == MAX_LANES_OF_PUBLISHER {
            return None;
        }
        let number = match self.ended_lanes.pop() {
            Some(number) => number,
            None if self.lanes.len() < MAX_LANES => self.lanes.len() as u16,
            None => return None,
        };
        let mut lane = Lane { publisher, group, owner: 0, block_size, records: 0, is_live: true };
        lane.owner = owner.unwrap_or_else(|| self.free_owner());
        let span = owner.is_none().then(|| lane.span());
        self.owners[usize::from(lane.owner)] = Some(Owner { publisher, span });
        match self.lanes.get_mut(usize::from(number)) {
            Some(place) => *place = lane,
            None => self.lanes.push(lane),
        }
        self.lanes_of[usize::from(publisher.0)].as_mut()?.push(number);
        Some(number)
    }

    fn free_owner(&mut self) -> u16 {
        let owner = self.owners.iter().position(Option::is_none).unwrap_or(self.owners.len());
        if owner == self.owners.len() {
            self.owners.push(None);
        }
        owner as u16
    }

    /// Counts a record that a lane has lost.
    pub(super) fn forget_record(&mut self, number: u16) {
        let lane = &mut self.lanes[usize::from(number)];
        lane.records -= 1;
        if !lane.is_live {
            self.dead_records -= 1;
            if lane.records == 0 {
                self.ended_lanes.push(number);
            }
        }
    }

    /// Block sizes in use, each once.
    pub(super) fn block_sizes(&self) -> Vec<u32> {
        let mut sizes: Vec<u32> = self.lanes.iter().filter(|lane| lane.is_live).map(|lane| lane.block_size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// How a lookup among blocks of this size, or of all sizes, moves. `None`: there are none.
    pub(super) fn stride(&self, block_size: Option<u32>) -> Option<Stride> {
        let lanes = self.lanes.iter().filter(|lane| lane.is_live && block_size.is_none_or(|size| lane.block_size == size));
        lanes
            .map(Lane::span)
            .map(|span| Stride { step: span, longest: span })
            .reduce(|one, other| Stride { step: common_divisor(one.step, other.step), longest: one.longest.max(other.longest) })
    }
}

fn common_divisor(mut one: u32, mut other: u32) -> u32 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}
