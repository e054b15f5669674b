//! Names that resemble a name.

use crate::Kind;

/// The end of an error's sentence: what a user may have meant by an unknown kind.
pub(super) fn hint(api_version: &str, kind: &str) -> String {
    let same_name: Vec<Kind> = Kind::ALL.iter().copied().filter(|known| known.name() == kind).collect();
    if let Some(known) = same_name.first() {
        let group = known.groups().join(" or ");
        let group = if group.is_empty() { "the core group".to_owned() } else { format!("the group {group}") };
        return format!(": the kind {kind} belongs to {group}");
    }
    let mut near: Vec<(usize, Kind)> = Kind::ALL
        .iter()
        .map(|known| (distance(&known.name().to_lowercase(), &kind.to_lowercase()), *known))
        .filter(|(distance, known)| *distance <= 1 + known.name().len() / 4)
        .collect();
    near.sort_by_key(|(distance, known)| (*distance, known.name()));
    let closest = near.first().map_or(0, |(distance, _)| *distance);
    near.retain(|(distance, _)| *distance <= closest + 1);
    match near.as_slice() {
        [] => {
            let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
            let of_group: Vec<&str> =
                Kind::ALL.iter().filter(|known| known.groups().contains(&group)).map(|known| known.name()).collect();
            if of_group.is_empty() { String::new() } else { format!(": of that group, {} are known", of_group.join(", ")) }
        }
        near => {
            let names: Vec<&str> = near.iter().take(3).map(|(_, known)| known.name()).collect();
            format!(": did you mean {}?", names.join(" or "))
        }
    }
}

/// The name of a field that is meant by another: one letter in three may differ, or its end be left out.
pub(super) fn field(written: &str, known: &[&'static str]) -> Option<&'static str> {
    let lower = written.to_lowercase();
    let near = known.iter().filter_map(|name| {
        let name_lower = name.to_lowercase();
        let edits = distance(&name_lower, &lower);
        let is_short_form = lower.len() >= MIN_SHORT_FORM && name_lower.starts_with(&lower);
        (is_short_form || edits <= written.len().div_ceil(3)).then_some((edits, *name))
    });
    near.min().map(|(_, name)| name)
}

/// The least letters of a name that stand for all of it.
const MIN_SHORT_FORM: usize = 4;

/// Levenshtein's distance, over at most 64 bytes of each word.
pub(super) fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (&left.as_bytes()[..left.len().min(64)], &right.as_bytes()[..right.len().min(64)]);
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_offered() {
        assert_eq!(hint("gateway.networking.k8s.io/v1", "HttpRoutes"), ": did you mean HTTPRoute?");
        assert_eq!(hint("v1", "Pods"), ": did you mean Pod?");
    }

    #[test]
    fn a_kind_in_the_wrong_group_is_told_its_group() {
        assert_eq!(
            hint("gateway.networking.k8s.io/v1", "InferencePool"),
            ": the kind InferencePool belongs to the group inference.networking.k8s.io or inference.networking.x-k8s.io"
        );
    }
}
