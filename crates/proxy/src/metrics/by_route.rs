//! Series by rule, within bounds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashSet};
use pailou_config::snapshot::RouteName;
use parking_lot::RwLock;

/// Rules that have series of their own; those beyond share one.
const MAX_ROUTES: usize = 10_000;
/// When there are so many, those that had no request for this long make room: most are of rules that are gone. Going through them all
/// takes a while, and is not done more often either.
const IDLE: Duration = Duration::from_secs(60);

/// The series of each rule, looked up once and then at hand.
pub(super) struct ByRoute<T>(RwLock<All<T>>);

struct All<T> {
    of: HashMap<RouteName, One<T>>,
    /// When room was last looked for.
    swept: Option<Instant>,
}

struct One<T> {
    series: Arc<T>,
    label: Arc<str>,
    /// Since room was last looked for.
    is_used: AtomicBool,
}

impl<T> Default for ByRoute<T> {
    fn default() -> Self {
        Self(RwLock::new(All { of: HashMap::default(), swept: None }))
    }
}

impl<T> ByRoute<T> {
    /// A rule's series; `make` makes them under a label, which those beyond the bound share, and `forget` takes away those of one.
    pub(super) fn get(&self, name: &RouteName, make: impl FnOnce(Arc<str>) -> T, forget: impl Fn(&Arc<str>)) -> Arc<T> {
        if let Some(one) = self.0.read().of.get(name) {
            // Written once, and then only read: all threads come by here.
            if !one.is_used.load(Relaxed) {
                one.is_used.store(true, Relaxed);
            }
            return one.series.clone();
        }
        let mut all = self.0.write();
        if all.of.len() >= MAX_ROUTES && !all.make_room(Instant::now(), forget) {
            return Arc::new(make("other".into()));
        }
        let label: Arc<str> = name.to_string().into();
        let series = Arc::new(make(label.clone()));
        all.of.insert(name.clone(), One { series: series.clone(), label, is_used: AtomicBool::new(true) });
        series
    }
}

impl<T> All<T> {
    /// Lets go of series that nobody used since this was last called; whether there were any.
    fn make_room(&mut self, now: Instant, forget: impl Fn(&Arc<str>)) -> bool {
        if self.swept.is_some_and(|swept| now.saturating_duration_since(swept) < IDLE) {
            return false;
        }
        self.swept = Some(now);
        let gone: Vec<One<T>> = self.of.extract_if(|_, one| !std::mem::take(one.is_used.get_mut())).map(|(_, one)| one).collect();
        // Routes of two kinds may have one name, and so one label.
        let kept: HashSet<&str> = self.of.values().map(|one| &*one.label).collect();
        gone.iter().filter(|one| !kept.contains(&*one.label)).for_each(|one| forget(&one.label));
        self.of.len() < MAX_ROUTES
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, sync::Arc};

    use pailou_config::snapshot::{Name, RouteKind};

    use super::*;

    fn name(number: usize) -> RouteName {
        RouteName { kind: RouteKind::Http, name: Name::new("shop", &format!("r{number}")), rule: 0, rule_name: None }
    }

    #[test]
    fn beyond_the_bound_those_that_are_not_used_make_room() {
        let series = ByRoute::default();
        let forgotten = RefCell::new(Vec::new());
        let label = |number| {
            let label: Arc<Arc<str>> = series.get(&name(number), |label| label, |label| forgotten.borrow_mut().push(label.clone()));
            label.to_string()
        };
        (0..MAX_ROUTES).for_each(|number| assert_ne!(label(number), "other"));
        assert_eq!(label(MAX_ROUTES), "other", "all of them were used just now");
        assert_eq!(label(MAX_ROUTES), "other", "room is not looked for again at once");

        assert_eq!(label(7), label(7));
        series.0.write().swept = Instant::now().checked_sub(IDLE);
        assert_ne!(label(MAX_ROUTES), "other");
        assert_eq!(forgotten.borrow().len(), MAX_ROUTES - 1, "all but the one that was used");
        assert_eq!(series.0.read().of.len(), 2);
    }
}
