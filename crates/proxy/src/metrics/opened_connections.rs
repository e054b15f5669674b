//! Connections that rules' backends ever had, for a counter that does not fall when a rule gets other backends.
//!
//! Each backend counts its own, and all rules that lead there share them. A rule's sum would fall with a backend that it no longer has: what that
//! one had when it was read last stays in the sum.

use std::collections::BTreeMap;

use pailou_snapshot::{ClusterKey, RouteName};

/// Totals of rules, as they were read last.
#[derive(Default)]
pub(crate) struct OpenedConnections {
    rules: BTreeMap<RouteName, Opened>,
    /// Number of the reading.
    reading: u64,
}

#[derive(Default)]
struct Opened {
    /// Of backends that the rule has no more.
    former: u64,
    last: BTreeMap<ClusterKey, u64>,
    reading: u64,
}

impl OpenedConnections {
    /// Totals of all rules, by what each of their backends has had. Beyond `most` rules those that were not read the last time are forgotten.
    ///
    /// All counts of a name come at once: a backend that is missing has gone.
    pub(crate) fn totals<'a>(
        &mut self,
        counts: impl IntoIterator<Item = (&'a RouteName, ClusterKey, u64)>,
        most: usize,
    ) -> BTreeMap<&'a RouteName, u64> {
        if self.rules.len() > most {
            let last = self.reading;
            self.rules.retain(|_, rule| rule.reading == last);
        }
        self.reading += 1;
        let mut rules: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (rule, cluster, count) in counts {
            rules.entry(rule).or_default().insert(cluster, count);
        }
        rules.into_iter().map(|(rule, now)| (rule, self.total(rule, now))).collect()
    }

    /// The total of a rule whose backends have had so many connections.
    fn total(&mut self, rule: &RouteName, now: BTreeMap<ClusterKey, u64>) -> u64 {
        let known = self.rules.entry(rule.clone()).or_default();
        known.reading = self.reading;
        for (cluster, last) in &known.last {
            // One that counts less is another of the same key: it came after a while without.
            if now.get(cluster).is_none_or(|count| count < last) {
                known.former += last;
            }
        }
        let total = known.former + now.values().sum::<u64>();
        known.last = now;
        total
    }
}

#[cfg(test)]
mod tests {
    use pailou_snapshot::{EndpointKey, Name, RouteKind};

    use super::*;

    fn rule(name: &str) -> RouteName {
        RouteName { kind: RouteKind::Http, name: Name::new("default", name), rule: 0, rule_name: None }
    }

    /// Reads one rule: gives its total.
    fn read(opened: &mut OpenedConnections, rule: &RouteName, counts: &[(&str, u64)], most: usize) -> u64 {
        let key = |name: &str| ClusterKey { endpoints: EndpointKey::Pool(Name::new("default", name)), variant: 0 };
        opened.totals(counts.iter().map(|(name, count)| (rule, key(name), *count)), most)[rule]
    }

    #[test]
    fn a_total_does_not_fall_with_a_backend_that_goes_or_begins_anew() {
        let mut opened = OpenedConnections::default();
        let mut read = |counts: &[(&str, u64)]| read(&mut opened, &rule("r"), counts, 9);
        assert_eq!(read(&[("a", 5), ("b", 2)]), 7);
        assert_eq!(read(&[("b", 3)]), 8, "a has gone");
        assert_eq!(read(&[("b", 1), ("c", 1)]), 10, "b is another, and c is new");
        assert_eq!(read(&[("c", 1)]), 10);
    }

    #[test]
    fn clusters_of_one_name_are_read_together_and_nothing_grows_by_itself() {
        let mut opened = OpenedConnections::default();
        let name = rule("r");
        let key = |variant| ClusterKey { endpoints: EndpointKey::Pool(Name::new("default", "a")), variant };
        for _ in 0..2 {
            // As two rules of the name come, one after the other.
            let totals = opened.totals([(&name, key(0), 5), (&name, key(1), 2)], 9);
            assert_eq!(totals, BTreeMap::from([(&name, 7)]));
        }
    }

    #[test]
    fn rules_that_are_read_no_more_make_room() {
        let mut opened = OpenedConnections::default();
        for name in ["a", "b", "c"] {
            read(&mut opened, &rule(name), &[("x", 1)], 2);
        }
        assert_eq!(opened.rules.len(), 3);
        read(&mut opened, &rule("c"), &[("x", 1)], 2);
        assert_eq!(opened.rules.len(), 1);
    }
}
