//! Choices by weight and by share.

use pailou_snapshot::{BackendRef, Backends, Fraction};

use crate::{
    cluster::{Census, shares},
    runtime::Runtime,
};

/// One of the backends, by weight; `None` where none has any. Fallbacks get what the others are not healthy enough for (Envoy's
/// priority levels).
pub(crate) fn choose<'a>(backends: &'a Backends, runtime: &Runtime) -> Option<&'a BackendRef> {
    let fallback = match (backends.total(false), backends.total(true)) {
        (_, 0) => false,
        (0, _) => true,
        _ => spills_over(backends, runtime),
    };
    match backends.total(fallback) {
        0 => None,
        total => backends.at(fallback, fastrand::u64(..total)),
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
