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
    /// Begins to read all rules. Beyond `most` those that were not read the last time are forgotten.
    pub(crate) fn begin(&mut self, most: usize) {
        if self.rules.len() > most {
            let last = self.reading;
            self.rules.retain(|_, rule| rule.reading == last);
        }
        self.reading += 1;
    }

    /// The total of a rule whose backends have had so many connections.
    pub(crate) fn total(&mut self, rule: &RouteName, now: BTreeMap<ClusterKey, u64>) -> u64 {
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

    fn counts(counts: &[(&str, u64)]) -> BTreeMap<ClusterKey, u64> {
        let key = |name: &str| ClusterKey { endpoints: EndpointKey::Pool(Name::new("default", name)), variant: 0 };
        counts.iter().map(|(name, count)| (key(name), *count)).collect()
    }

    #[test]
    fn a_total_does_not_fall_with_a_backend_that_goes_or_begins_anew() {
        let mut opened = OpenedConnections::default();
        let mut read = |backends: &[(&str, u64)]| {
            opened.begin(9);
            opened.total(&rule("r"), counts(backends))
        };
        assert_eq!(read(&[("a", 5), ("b", 2)]), 7);
        assert_eq!(read(&[("b", 3)]), 8, "a has gone");
        assert_eq!(read(&[("b", 1), ("c", 1)]), 10, "b is another, and c is new");
        assert_eq!(read(&[]), 10);
    }

    #[test]
    fn rules_that_are_read_no_more_make_room() {
        let mut opened = OpenedConnections::default();
        for name in ["a", "b", "c"] {
            opened.begin(2);
            opened.total(&rule(name), counts(&[("x", 1)]));
        }
        assert_eq!(opened.rules.len(), 3);
        opened.begin(2);
        assert_eq!(opened.rules.len(), 1);
    }
}
