//! Objects that fed Gateways need, worked out once for all of them whenever the objects change.

use std::{collections::HashMap, sync::Arc};

use pailou_api::{Gateway, ObjectKey};
use pailou_compile::{
    by_key::ByKey,
    reach::{Moved, Needs},
};
use pailou_snapshot::Name;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{ClusterState, Json, work};

/// The objects that a Gateway needs. Keys and objects are shared with those of all others.
pub(super) type Needed = ByKey<Json>;

/// State of a Gateway whose proxies are fed.
#[derive(Clone, Debug, Default)]
pub(super) enum State {
    /// It was not looked at yet.
    #[default]
    Unknown,
    /// There is no such Gateway.
    Gone,
    /// It needs these.
    Needs(Arc<Needed>),
}

/// The Gateways that are fed. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// As many as have a proxy connected, and those whose last proxy has just gone.
    gateways: Mutex<HashMap<Name, watch::Sender<State>>>,
    joined: Notify,
}

impl Reached {
    /// Follows the needs of a Gateway from now on.
    pub(super) fn of(&self, gateway: &Name) -> watch::Receiver<State> {
        let mut gateways = self.0.gateways.lock();
        let state = gateways.entry(gateway.clone()).or_default().subscribe();
        drop(gateways);
        self.0.joined.notify_one();
        state
    }

    /// Keeps everything up to date until the controller ends.
    pub(super) async fn keep(self, mut known: watch::Receiver<Option<ClusterState>>) {
        let mut before: Option<ClusterState> = None;
        let mut needs = Needs::default();
        loop {
            tokio::select! {
                changed = known.changed() => if changed.is_err() { return },
                () = self.0.joined.notified() => {}
            }
            let Some(now) = known.borrow_and_update().clone() else { continue };
            let is_new = before.as_ref().is_none_or(|before| !before.is_same_to_proxies(&now));
            let due = self.due(is_new);
            if !due.is_empty() {
                let (known, mut kept) = (now.clone(), std::mem::take(&mut needs));
                let reaching = work::through(known.store.len(), move || {
                    let changed = kept.update(&known.store, &known.settings);
                    (reach(&kept, &known, due, &changed), kept)
                });
                match reaching.await {
                    Ok((states, kept)) => {
                        needs = kept;
                        self.publish(states);
                    }
                    // The next change tries again.
                    Err(error) => tracing::error!(%error, "cannot work out the proxies' objects; they keep their configuration"),
                }
                before = Some(now);
            }
        }
    }

    /// The Gateways to work out: all of them after a change, else those without a state. Forgets Gateways without proxies.
    fn due(&self, is_new: bool) -> Vec<(Name, State)> {
        let mut gateways = self.0.gateways.lock();
        gateways.retain(|_, state| !state.is_closed());
        let due = gateways.iter().filter(|(_, state)| is_new || matches!(*state.borrow(), State::Unknown));
        due.map(|(name, state)| (name.clone(), state.borrow().clone())).collect()
    }

    fn publish(&self, states: Vec<(Name, State)>) {
        let gateways = self.0.gateways.lock();
        for (name, now) in states {
            if let Some(state) = gateways.get(&name) {
                state.send_if_modified(|state| {
                    let differs = !is_same(state, &now);
                    *state = now;
                    differs
                });
            }
        }
    }
}

/// The Gateways' needs now, derived from those before the last change; `changed` are the objects of that change.
fn reach(needs: &Needs, known: &ClusterState, gateways: Vec<(Name, State)>, changed: &[Arc<ObjectKey>]) -> Vec<(Name, State)> {
    let states = gateways.into_iter().map(|(name, before)| {
        let state = match (known.store.find::<Gateway>(&name.namespace, &name.name), before, needs.moved(&name)) {
            (None, ..) => State::Gone,
            (Some(_), State::Needs(mut needed), Moved::These(moved)) => {
                renew(&mut needed, known, moved.iter().chain(changed), |key| needs.has(&name, key));
                State::Needs(needed)
            }
            (Some(_), ..) => {
                let mut keys: Vec<&Arc<ObjectKey>> = needs.of(&name).collect();
                keys.sort_unstable();
                let objects = keys.into_iter().filter_map(|key| known.objects.get_key_value(key));
                State::Needs(Arc::new(objects.map(|(key, json)| (key.clone(), json.clone())).collect()))
            }
        };
        (name, state)
    });
    states.collect()
}

/// Has of these objects what is needed, as it is now.
fn renew<'k>(
    needed: &mut Arc<Needed>,
    known: &ClusterState,
    keys: impl Iterator<Item = &'k Arc<ObjectKey>>,
    is_needed: impl Fn(&ObjectKey) -> bool,
) {
    for key in keys {
        match known.objects.get_key_value(key).filter(|_| is_needed(key)) {
            Some((_, json)) if needed.get(key) == Some(json) => {}
            Some((key, json)) => drop(Arc::make_mut(needed).insert(key.clone(), json.clone())),
            None if needed.contains_key(key) => drop(Arc::make_mut(needed).remove(key)),
            None => {}
        }
    }
}

fn is_same(before: &State, now: &State) -> bool {
    match (before, now) {
        (State::Needs(before), State::Needs(now)) => before == now,
        (State::Gone, State::Gone) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
