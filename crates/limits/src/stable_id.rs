//! Identities by content, which stay the same in every version of the program, and in every process.

use ring::digest;

/// An identity in the making: a SHA-256 of parts, each with its length before it, so that two lists of parts never read alike.
pub struct StableId(digest::Context);

impl Default for StableId {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl StableId {
    /// With a further part.
    #[must_use]
    pub fn with(mut self, part: &str) -> Self {
        self.add(part);
        self
    }

    /// Adds a part.
    pub fn add(&mut self, part: &str) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part.as_bytes());
    }

    /// The identity: the first 64 bits.
    pub fn finish(self) -> u64 {
        let digest = self.0.finish();
        digest.as_ref().iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_the_same_in_every_version() {
        let of = |parts: &[&str]| parts.iter().fold(StableId::default(), |id, part| id.with(part)).finish();
        assert_eq!(of(&[]), 0xe3b0_c442_98fc_1c14, "the digest of nothing");
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a"]), of(&["a", ""]));
    }
}
