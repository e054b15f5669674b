//! Series by rule.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use pailou_snapshot::RouteName;
use smallvec::SmallVec;

use super::bounded::Bounded;

/// Rules that have series of their own; those beyond share one.
const MAX_ROUTES: usize = 10_000;
/// The labels of those beyond the bound. A rule's has slashes.
const OTHER: RouteLabels = RouteLabels { kind: "other", route: Cow::Borrowed("other") };

/// The series of each rule that had a request.
pub(super) struct ByRoute<T>(Bounded<RouteName, T>);

/// Labels of a rule. Routes of two kinds may have one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RouteLabels {
    kind: &'static str,
    route: Cow<'static, str>,
}

impl RouteLabels {
    pub(super) fn kind(&self) -> (&'static str, &str) {
        ("kind", self.kind)
    }

    pub(super) fn route(&self) -> (&'static str, &str) {
        ("route", &self.route)
    }
}

/// By labels; a rule may bear another's number as its name, and so its label.
pub(super) type Labelled<T> = BTreeMap<RouteLabels, SmallVec<[Arc<T>; 1]>>;

impl<T> fmt::Debug for ByRoute<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByRoute").finish_non_exhaustive()
    }
}

impl<T: Default> Default for ByRoute<T> {
    fn default() -> Self {
        Self(Bounded::new(MAX_ROUTES))
    }
}

impl<T: Default> ByRoute<T> {
    /// Counts in a rule's series.
    pub(super) fn with(&self, name: &RouteName, count: impl FnOnce(&T)) {
        self.0.with(name, || name.clone(), |series| count(series));
    }

    /// The series of a rule, if it has some of its own.
    pub(super) fn find(&self, name: &RouteName) -> Option<Arc<T>> {
        self.0.find(name)
    }

    /// All of them, those beyond the bound included.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        let mut all = Vec::new();
        self.0.each(|_, series| all.push(series.clone()));
        all
    }

    /// All of them, for whoever reads the metrics.
    pub(super) fn labelled(&self) -> Labelled<T> {
        let mut labelled = Labelled::default();
        self.0.each(|name, series| {
            let labels = name.map_or(OTHER, |name| RouteLabels { kind: name.kind.name(), route: name.to_string().into() });
            labelled.entry(labels).or_default().push(series.clone());
        });
        labelled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use pailou_snapshot::{Name, RouteKind};

    use super::*;

    fn name(kind: RouteKind, number: usize) -> RouteName {
        RouteName { kind, name: Name::new("shop", &format!("r{number}")), rule: 0, rule_name: None }
    }

    #[test]
    fn beyond_the_bound_those_that_are_not_used_make_room() {
        let all = ByRoute::<AtomicU64>::default();
        let count = |number| {
            let mut before = None;
            all.with(&name(RouteKind::Http, number), |series| before = Some(series.fetch_add(1, Relaxed)));
            before.unwrap()
        };
        let labels = || all.labelled().into_keys().map(|labels| labels.route).collect::<Vec<_>>();
        (0..MAX_ROUTES).for_each(|number| assert_eq!(count(number), 0));
        assert_eq!(labels().len(), MAX_ROUTES);

        assert_eq!(count(MAX_ROUTES), 0, "all of them were used just now");
        assert_eq!(count(MAX_ROUTES + 1), 1, "room is not looked for again at once: it is counted with the other");
        assert_eq!(labels().len(), MAX_ROUTES + 1);
        assert!(labels().contains(&OTHER.route));

        assert_eq!(count(7), 1);
        all.0.allow_sweep();
        assert_eq!(count(MAX_ROUTES), 0);
        assert_eq!(labels(), ["shop/r10000/0", "shop/r7/0", "other"], "all but the one that was used made room");
    }

    #[test]
    fn routes_of_two_kinds_with_one_name_are_two() {
        let all = ByRoute::<AtomicU64>::default();
        for kind in [RouteKind::Http, RouteKind::Grpc] {
            all.with(&name(kind, 1), |series| {
                series.fetch_add(1, Relaxed);
            });
        }
        let labelled = all.labelled();
        let labels: Vec<_> = labelled.keys().map(|labels| (labels.kind, &*labels.route)).collect();
        assert_eq!(labels, [("GRPCRoute", "shop/r1/0"), ("HTTPRoute", "shop/r1/0")]);
    }
}
