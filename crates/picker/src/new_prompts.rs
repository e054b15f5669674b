//! New prompts that endpoints were given lately.
//!
//! The rest of a conversation goes where it begins, and prompts that share a beginning go where that is computed first. Load shows it only later,
//! when to move them costs their prefill once more. So new prompts are dealt out evenly.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// New prompts of the pool after which one counts half.
const HALF_LIFE: f32 = 256.0;
/// Share of a prompt that some endpoint has cached, from which on it is not new.
const KNOWN_SHARE: f32 = 0.5;

/// Number of a pool's new prompts, modulo 2³²: the time by which they fade.
#[derive(Debug, Default)]
pub(crate) struct NewPromptCount(AtomicU32);

/// New prompts of one endpoint: how many, in the upper half the number of the last one.
#[derive(Debug, Default)]
pub(crate) struct NewPrompts(AtomicU64);

/// New prompt of one request, which counts at the endpoint that computes it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NewPrompt {
    /// 0 to 1; 0 for a prompt that is not new, or in a pool where they do not count.
    weight: f32,
    is_counted: bool,
}

impl NewPrompt {
    pub(crate) fn of_weight(weight: f32) -> Self {
        Self { weight, is_counted: false }
    }

    /// Counts it at its present endpoint, or takes it back there.
    pub(crate) fn count(&mut self, is_here: bool, endpoint: &NewPrompts, count: &NewPromptCount) {
        if self.weight > 0.0 && std::mem::replace(&mut self.is_counted, is_here) != is_here {
            if is_here { endpoint.add(count, self.weight) } else { endpoint.take_back(count, self.weight) }
        }
    }
}

/// Whether a prompt is new, of which the endpoint that has most of it has so many bytes.
pub(crate) fn is_new(prompt_bytes: usize, most_cached: u32) -> bool {
    prompt_bytes > 0 && (most_cached as f32) < prompt_bytes as f32 * KNOWN_SHARE
}

impl NewPrompts {
    /// Their number, with older ones faded.
    pub(crate) fn faded(&self, count: &NewPromptCount) -> f32 {
        faded(self.0.load(Relaxed), count.0.load(Relaxed))
    }

    /// Takes back one of this weight, of which a part may have faded since.
    fn take_back(&self, count: &NewPromptCount, weight: f32) {
        let number = count.0.load(Relaxed);
        let left = |packed| Some(u64::from(number) << 32 | u64::from((faded(packed, number) - weight).max(0.0).to_bits()));
        // It always has a value to store.
        let _ = self.0.fetch_update(Relaxed, Relaxed, left);
    }

    /// Adds one of this weight, 0 to 1.
    fn add(&self, count: &NewPromptCount, weight: f32) {
        let number = count.0.fetch_add(1, Relaxed);
        let added = |packed| Some(u64::from(number) << 32 | u64::from((faded(packed, number) + weight).to_bits()));
        // It always has a value to store.
        let _ = self.0.fetch_update(Relaxed, Relaxed, added);
    }
}

fn faded(packed: u64, now: u32) -> f32 {
    let (amount, last) = (f32::from_bits(packed as u32), (packed >> 32) as u32);
    if amount == 0.0 {
        return 0.0;
    }
    // Another pick may have counted on meanwhile.
    let since = now.wrapping_sub(last).cast_signed().max(0);
    amount * (-(since as f32) / HALF_LIFE).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_prompts_fade_as_others_come() {
        let (count, one, other) = (NewPromptCount::default(), NewPrompts::default(), NewPrompts::default());
        one.add(&count, 1.0);
        assert!((one.faded(&count) - 1.0).abs() < 0.01);
        (0..255).for_each(|_| other.add(&count, 1.0));
        assert!((one.faded(&count) - 0.5).abs() < 0.01);
        assert!(other.faded(&count) > 150.0);
    }

    #[test]
    fn numbers_go_on_beyond_their_greatest() {
        let (count, one) = (NewPromptCount(AtomicU32::new(u32::MAX)), NewPrompts::default());
        one.add(&count, 1.0);
        one.add(&count, 1.0);
        assert!((one.faded(&count) - 2.0).abs() < 0.02, "{}", one.faded(&count));
        assert_eq!(faded(5 << 32 | u64::from(1.0_f32.to_bits()), 3), 1.0, "one that a pick beside has counted");
    }

    #[test]
    fn a_prompt_is_new_until_half_of_it_is_known() {
        assert_eq!([is_new(0, 0), is_new(100, 49), is_new(100, 50)], [false, true, false]);
    }
}
