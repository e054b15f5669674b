//! Choices by weight and by share.

use std::ptr;

use pailou_snapshot::{BackendRef, Backends, Fraction};
use smallvec::SmallVec;

use crate::{
    cluster::{Census, EndpointId, shares},
    runtime::Runtime,
};

/// Endpoints that were tried, of one cluster.
pub(crate) type TriedEndpoints = SmallVec<[EndpointId; 4]>;

/// Attempts of one request, or of one connection, by which the backend of the next one is chosen.
#[derive(Debug)]
pub(crate) struct AttemptHistory<'a> {
    backends: &'a Backends,
    /// Attempts after which the next priority has its turn (BackendTrafficPolicy `retry.numAttemptsPerPriority`).
    per_priority: Option<u32>,
    attempts: SmallVec<[(&'a BackendRef, EndpointId); 4]>,
    /// The priorities that have had their turn, as far as others are left.
    had_turn: [bool; 2],
    /// Backends whose own limits, or queue, have no room.
    full: SmallVec<[&'a BackendRef; 2]>,
}

impl<'a> AttemptHistory<'a> {
    pub(crate) fn new(backends: &'a Backends, per_priority: Option<u32>) -> Self {
        Self { backends, per_priority, attempts: SmallVec::new(), had_turn: [false; 2], full: SmallVec::new() }
    }

    /// Whether there is a choice between backends at all.
    pub(crate) fn has_choice(&self) -> bool {
        self.backends.iter().nth(1).is_some()
    }

    /// Counts an attempt.
    pub(crate) fn push(&mut self, backend: &'a BackendRef, endpoint: EndpointId) {
        self.attempts.push((backend, endpoint));
    }

    /// Notes that a backend's own limits, or its queue, have no room: it gets no further attempt.
    pub(crate) fn note_full(&mut self, backend: &'a BackendRef) {
        self.full.push(backend);
    }

    /// The endpoints of a backend's cluster that were tried. Two backendRefs may lead to one cluster.
    pub(crate) fn tried(&self, backend: &BackendRef) -> TriedEndpoints {
        let same = |other: &BackendRef| ptr::eq(other, backend) || other.cluster.is_ok() && other.cluster == backend.cluster;
        self.attempts.iter().filter(|(other, _)| same(other)).map(|(_, endpoint)| *endpoint).collect()
    }

    /// The backend of the next attempt, by weight among those of a priority that have an endpoint which was not tried (Envoy's
    /// `previous_hosts`): of the priority whose turn it is (Envoy's `previous_priorities`), then of the other. `None` where all
    /// endpoints were tried.
    pub(crate) fn next(&mut self, runtime: &Runtime) -> Option<&'a BackendRef> {
        let preferred = self.priority(runtime);
        [preferred, !preferred].into_iter().find_map(|fallback| {
            let untried = |backend: &&BackendRef| {
                backend.fallback == fallback
                    && !self.full.iter().any(|full| ptr::eq(*full, *backend))
                    && backend.cluster.as_ref().is_ok_and(|id| runtime.cluster(*id).has_untried(&self.tried(backend)))
            };
            by_weight(self.backends.iter().filter(untried))
        })
    }

    /// Whether fallbacks have their turn.
    fn priority(&mut self, runtime: &Runtime) -> bool {
        let Some(per_priority) = self.per_priority.filter(|number| *number > 0) else {
            return prefers_fallback(self.backends, runtime);
        };
        if self.attempts.len().is_multiple_of(per_priority as usize) {
            self.attempts.iter().for_each(|(backend, _)| self.had_turn[usize::from(backend.fallback)] = true);
            let is_left = |fallback: bool| !self.had_turn[usize::from(fallback)] && self.backends.total(fallback) > 0;
            if !is_left(false) && !is_left(true) {
                self.had_turn = [false; 2];
            }
        }
        match self.had_turn {
            [true, false] => true,
            [false, true] => false,
            _ => prefers_fallback(self.backends, runtime),
        }
    }
}

/// One of the backends, by weight; `None` where none has any. Fallbacks get what the others are not healthy enough for (Envoy's
/// priority levels).
pub(crate) fn choose<'a>(backends: &'a Backends, runtime: &Runtime) -> Option<&'a BackendRef> {
    let fallback = prefers_fallback(backends, runtime);
    match backends.total(fallback) {
        0 => None,
        total => backends.at(fallback, fastrand::u64(..total)),
    }
}

/// One of the backends that are open to a request and have an endpoint, by weight: of this priority first, then of the other.
pub(crate) fn choose_other<'a>(
    backends: &'a Backends,
    runtime: &Runtime,
    fallback: bool,
    is_open: impl Fn(&BackendRef) -> bool,
) -> Option<&'a BackendRef> {
    [fallback, !fallback].into_iter().find_map(|fallback| {
        let is_usable = |backend: &BackendRef| backend.cluster.as_ref().is_ok_and(|id| runtime.cluster(*id).has_untried(&[]));
        by_weight(backends.iter().filter(|it| it.fallback == fallback && is_open(it) && is_usable(it)))
    })
}

fn by_weight<'a>(backends: impl Iterator<Item = &'a BackendRef>) -> Option<&'a BackendRef> {
    let open: SmallVec<[&'a BackendRef; 4]> = backends.collect();
    let total: u64 = open.iter().map(|backend| u64::from(backend.weight)).sum();
    let point = (total > 0).then(|| fastrand::u64(..total))?;
    pailou_snapshot::at_point(open, |backend| backend.weight, point)
}

fn prefers_fallback(backends: &Backends, runtime: &Runtime) -> bool {
    match (backends.total(false), backends.total(true)) {
        (_, 0) => false,
        (0, _) => true,
        _ => spills_over(backends, runtime),
    }
}

/// Whether this is one of those that the backends which are no fallback do not get.
fn spills_over(backends: &Backends, runtime: &Runtime) -> bool {
    let census = |fallback| {
        let level = backends.iter().filter(|backend| backend.fallback == fallback && backend.weight > 0);
        let census = level.map(|backend| match &backend.cluster {
            Ok(id) => runtime.cluster(*id).census(),
            // Its share fails, and is not handed to others.
            Err(_) => Census::WHOLE,
        });
        census.fold(Census::default(), |sum, census| sum + census)
    };
    let [primary, fallback] = shares([census(false), census(true)]);
    match primary.saturating_add(fallback) {
        0 => false,
        total => fastrand::u32(..total) >= primary,
    }
}

/// Whether chance puts a request into this share.
pub(crate) fn falls_within(share: Fraction) -> bool {
    share.numerator >= share.denominator || fastrand::u32(..share.denominator.max(1)) < share.numerator
}
