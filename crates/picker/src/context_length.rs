//! Fitness of an endpoint for a prompt's length, by the context lengths that its Pod's label says it is for. Formula: llm-d's.

use pailou_snapshot::ContextRange;

/// Score of an endpoint without such a label.
const WITHOUT_LABEL: f32 = 0.5;
/// Scores up to this are for lengths outside an endpoint's range, those above for lengths in it.
const MOST_OUTSIDE: f32 = 0.3;
/// Width of a range that halves its part of the score, in tokens.
const HALF_WIDTH: f32 = 10_000.0;
/// Distance from a range that halves the score, in tokens.
const HALF_DISTANCE: f32 = 1000.0;
/// Parts of the score that a narrow range has, and room above the prompt in it.
const WIDTH: f32 = 0.7;
const HEADROOM: f32 = 0.3;

/// Whether a prompt of so many tokens is in the range, or there is none.
pub(crate) fn is_in(range: Option<ContextRange>, tokens: f32) -> bool {
    range.is_none_or(|range| (range.min as f32..=range.max as f32).contains(&tokens))
}

/// The score, 0 to 1.
pub(crate) fn score(range: Option<ContextRange>, tokens: f32) -> f32 {
    let Some(range) = range else { return WITHOUT_LABEL };
    let (min, max) = (range.min as f32, range.max as f32);
    if !is_in(Some(range), tokens) {
        let distance = (tokens - max).max(min - tokens);
        return MOST_OUTSIDE / (1.0 + distance / HALF_DISTANCE);
    }
    let width = max - min;
    if width == 0.0 {
        return 1.0;
    }
    let inside = WIDTH / (1.0 + width / HALF_WIDTH) + HEADROOM * (max - tokens) / width;
    MOST_OUTSIDE + inside * (1.0 - MOST_OUTSIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: u32, max: u32) -> Option<ContextRange> {
        Some(ContextRange { min, max })
    }

    #[test]
    fn the_narrower_range_that_has_the_length_is_fitter_and_none_outside_is_as_fit() {
        let [narrow, wide] = [range(0, 2048), range(0, 131_072)].map(|range| score(range, 1000.0));
        assert!(narrow > wide && wide > MOST_OUTSIDE, "{narrow} {wide}");
        let [near, far] = [range(0, 8192), range(0, 2048)].map(|range| score(range, 9000.0));
        assert!(near > far && near < MOST_OUTSIDE, "{near} {far}");
        assert_eq!(score(range(7, 7), 7.0), 1.0);
        assert_eq!(score(None, 7.0), 0.5);
        assert!(score(range(u32::MAX, u32::MAX), 7.0) < 0.001, "a label that is none");
    }

    #[test]
    fn bounds_are_in_the_range() {
        assert!(is_in(range(10, 20), 10.0) && is_in(range(10, 20), 20.0) && is_in(None, 1e9));
        assert!(!is_in(range(10, 20), 9.0) && !is_in(range(10, 20), 21.0));
    }
}
