//! Homes of prompts, on which gateways agree without talking: rendezvous hashing of a prompt's beginning.
//!
//! Each of several gateways knows the prompts that it sent itself. A prompt that is new to one of them may be cached where another sent it:
//! at its home, unless that was too busy. So a new prompt goes there, and some of it is taken to be cached there already. With one gateway
//! homes spread new prompts, before load shows which beginnings will be shared; how many each endpoint got counts, too (`new_prompts`).

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::prefix::prompt_seed;

/// Bytes of a prompt that choose its home. More than a system prompt mostly has, so that conversations have different homes; fixed, so that
/// one that grows keeps its own.
const BEGINNING: usize = 8192;
/// Share of a prompt that is taken to be cached at its home.
const ASSUMED: f32 = 0.3;

/// The beginning of a prompt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning {
    hash: u64,
    /// Bytes of the prompt that its home is taken to have.
    pub(crate) assumed: u32,
}

impl Beginning {
    /// Of a prompt for this model. Shorter ones than [`BEGINNING`] have a home, too, but nothing is taken to be cached there: each may be
    /// the only one of its kind.
    pub(crate) fn new(model: &str, salt: Option<&str>, prompt: &[u8]) -> Self {
        // All gateways have this seed.
        let seed = prompt_seed(0, model, salt);
        let beginning = prompt.get(..BEGINNING);
        let assumed = beginning.map_or(0, |_| (prompt.len() as f32 * ASSUMED) as u32);
        Self { hash: xxh3_64_with_seed(beginning.unwrap_or(prompt), seed), assumed }
    }

    /// How far an endpoint with this identity is from being the home, 0 to 1: the nearest one is.
    pub(crate) fn distance(self, identity: u64) -> f32 {
        let hash = xxh3_64_with_seed(&identity.to_le_bytes(), self.hash);
        // As many bits as a float keeps.
        (hash >> 40) as f32 / (1 << 24) as f32
    }
}

/// An endpoint's identity, the same in all gateways.
pub(crate) fn identity(address: &str) -> u64 {
    xxh3_64(address.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(prompt: &[u8], endpoints: usize) -> usize {
        let beginning = Beginning::new("qwen", None, prompt);
        let distance = |endpoint: &usize| beginning.distance(identity(&format!("10.0.0.{endpoint}:8000")));
        (0..endpoints).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap()
    }

    #[test]
    fn a_conversation_that_grows_keeps_its_home() {
        let turns = [10_000, 20_000, 400_000].map(|length| home(&b"x".repeat(length), 8));
        assert!(turns.iter().all(|turn| *turn == turns[0]), "{turns:?}");
    }

    #[test]
    fn homes_are_spread_and_an_endpoint_that_leaves_takes_its_own_alone() {
        let prompts: Vec<_> = (0..400).map(|number| format!("conversation {number}").into_bytes()).collect();
        let before: Vec<_> = prompts.iter().map(|prompt| home(prompt, 8)).collect();
        for endpoint in 0..8 {
            let count = before.iter().filter(|home| **home == endpoint).count();
            assert!((25..=80).contains(&count), "{endpoint}: {count}");
        }
        let moved = prompts.iter().zip(&before).filter(|(prompt, before)| home(prompt, 7) != **before).count();
        assert_eq!(moved, before.iter().filter(|home| **home == 7).count());
    }

    #[test]
    fn models_and_salts_have_homes_of_their_own() {
        let of = |model: &str, salt: Option<&str>| Beginning::new(model, salt, b"prompt").hash;
        assert_ne!(of("qwen", None), of("other", None));
        assert_ne!(of("qwen", None), of("qwen", Some("salt")));
    }

    #[test]
    fn a_short_prompt_is_not_taken_to_be_cached() {
        assert_eq!(Beginning::new("qwen", None, &[0; BEGINNING - 1]).assumed, 0);
        assert_eq!(Beginning::new("qwen", None, &[0; 10_000]).assumed, 3_000);
    }
}
