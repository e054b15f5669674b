//! Whether a model's chat template lets a conversation grow at its end alone: the tokens of a turn then begin those of the next.

use std::collections::HashMap;

use crate::speculation::common_prefix;

/// Turns that must have been as expected before one is relied on, and most of them, after doubling for each that was not.
const LEAST_VERIFIED: u32 = 2;
const MOST_VERIFIED: u32 = 1024;
/// Most tokens at a turn's end that the next may have otherwise: those that open an answer.
const MAX_OPENING: usize = 64;
/// Most models that are remembered.
const MAX_MODELS: usize = 256;

/// Templates by model.
#[derive(Debug, Default)]
pub(super) struct Templates {
    models: HashMap<u64, Template>,
    comparisons: u64,
}

#[derive(Debug)]
struct Template {
    verified: u32,
    needed: u32,
    /// Tokens at a turn's end that a later turn had otherwise.
    opening: usize,
    /// Number of its last comparison.
    compared: u64,
}

impl Templates {
    /// How many of an earlier turn's tokens begin the present one for certain enough.
    pub(super) fn usable(&self, model: u64, tokens: usize) -> Option<usize> {
        let template = self.models.get(&model).filter(|template| template.verified >= template.needed)?;
        tokens.checked_sub(template.opening).filter(|usable| *usable > 0)
    }

    /// Compares a turn with an earlier one. Of too many models, the one goes that was not compared for the longest.
    pub(super) fn compare(&mut self, model: u64, earlier: &[u32], present: &[u32]) {
        if self.models.len() >= MAX_MODELS
            && !self.models.contains_key(&model)
            && let Some(oldest) = self.models.iter().min_by_key(|(_, template)| template.compared).map(|(model, _)| *model)
        {
            self.models.remove(&oldest);
        }
        self.comparisons += 1;
        let new = || Template { verified: 0, needed: LEAST_VERIFIED, opening: 0, compared: 0 };
        let template = self.models.entry(model).or_insert_with(new);
        template.compared = self.comparisons;
        let other = earlier.len() - common_prefix(earlier, present);
        if other > MAX_OPENING {
            template.verified = 0;
            template.needed = (template.needed * 2).min(MOST_VERIFIED);
        } else {
            template.verified = template.verified.saturating_add(1);
            template.opening = template.opening.max(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_relied_on_once_it_was_verified_and_no_longer_than_it_holds() {
        let mut templates = Templates::default();
        let turn = |tokens: std::ops::Range<u32>, opening: u32| tokens.chain([opening, opening]).collect::<Vec<u32>>();
        let (earlier, present) = (turn(0..100, 7), turn(0..200, 7));
        assert_eq!(templates.usable(1, 102), None);
        templates.compare(1, &earlier, &present);
        assert_eq!(templates.usable(1, 102), None);
        templates.compare(1, &earlier, &present);
        assert_eq!((templates.usable(1, 102), templates.usable(1, 2), templates.usable(2, 102)), (Some(100), None, None));
        templates.compare(1, &earlier, &turn(500..600, 7));
        assert_eq!(templates.usable(1, 102), None);
        (0..3).for_each(|_| templates.compare(1, &earlier, &present));
        assert_eq!(templates.usable(1, 102), None);
        templates.compare(1, &earlier, &present);
        assert_eq!(templates.usable(1, 102), Some(100));
    }

    #[test]
    fn models_that_come_later_are_learned_too() {
        let mut templates = Templates::default();
        let (earlier, present): (Vec<u32>, Vec<u32>) = ((0..100).collect(), (0..200).collect());
        for model in 0..1000 {
            (0..2).for_each(|_| templates.compare(model, &earlier, &present));
            templates.compare(0, &earlier, &present);
        }
        assert_eq!(templates.models.len(), MAX_MODELS);
        let usable = [0, 1, 999].map(|model| templates.usable(model, 100));
        assert_eq!(usable, [Some(100), None, Some(100)], "those in use stay");
    }
}
