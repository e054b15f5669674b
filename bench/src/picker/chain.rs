//! A chain of the elements of a list, in the order of their use. The elements hold its links.

/// No element.
const NONE: u32 = u32::MAX;

/// An element's neighbours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    newer: u32,
    older: u32,
}

/// Element of a list that may be in a chain.
pub(super) trait Linked {
    fn links(&mut self) -> &mut Links;
}

/// Ends of a chain.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    newest: u32,
    oldest: u32,
}

impl Default for Links {
    fn default() -> Self {
        Self { newer: NONE, older: NONE }
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self { newest: NONE, oldest: NONE }
    }
}

impl Chain {
    /// Place of the oldest element.
    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// Makes the element at a place, which is in no chain, the newest.
    pub(super) fn link(&mut self, elements: &mut [impl Linked], at: u32) {
        let older = std::mem::replace(&mut self.newest, at);
        *elements[at as usize].links() = Links { newer: NONE, older };
        match older {
            NONE => self.oldest = at,
            older => elements[older as usize].links().newer = at,
        }
    }

    /// Takes the element at a place out of the chain.
    pub(super) fn unlink(&mut self, elements: &mut [impl Linked], at: u32) {
        let Links { newer, older } = *elements[at as usize].links();
        match newer {
            NONE => self.newest = older,
            newer => elements[newer as usize].links().older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => elements[older as usize].links().newer = newer,
        }
    }
}
