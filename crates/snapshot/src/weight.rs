//! Choices by weight.

/// The item at a point of all weights laid end to end; an item of weight 0 is never chosen. `None` where the point lies beyond
/// their sum.
pub fn at_point<T>(items: impl IntoIterator<Item = T>, weight: impl Fn(&T) -> u32, mut point: u64) -> Option<T> {
    items.into_iter().find(|item| {
        let weight = u64::from(weight(item));
        let here = point < weight;
        point = point.saturating_sub(weight);
        here
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_has_as_many_points_as_its_weight() {
        let weights = [2_u32, 0, 3];
        let chosen: Vec<_> = (0..6).map(|point| at_point(weights.iter().enumerate(), |(_, weight)| **weight, point)).collect();
        let places: Vec<_> = chosen.iter().map(|item| item.map(|(place, _)| place)).collect();
        assert_eq!(places, [Some(0), Some(0), Some(2), Some(2), Some(2), None]);
    }
}
