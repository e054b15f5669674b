//! What the Gateways need whose proxies are fed: worked out once for all of them whenever the objects change.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use pailou_config::{compile::Indexed, reach::Reaches, resources::Gateway, resources::ObjectKey, snapshot::Name};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
};

use crate::{Json, Known, Objects};

/// Whoever needs this part of all objects is quicker to go through them than to look each up.
const LARGE: usize = 16;

/// The objects that a Gateway needs. Keys and objects are shared with those of all others.
pub(super) type Needed = BTreeMap<Arc<ObjectKey>, Json>;

/// What is known of a Gateway that is fed.
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
    /// What a Gateway needs, from now on.
    pub(super) fn of(&self, gateway: &Name) -> watch::Receiver<State> {
        let mut gateways = self.0.gateways.lock();
        let state = gateways.entry(gateway.clone()).or_default().subscribe();
        drop(gateways);
        self.0.joined.notify_one();
        state
    }

    /// Keeps everything up to date until the controller ends.
    pub(super) async fn keep(self, mut known: watch::Receiver<Option<Known>>) {
        let mut before: Option<Known> = None;
        let mut indexed = Indexed::default();
        loop {
            tokio::select! {
                changed = known.changed() => if changed.is_err() { return },
                () = self.0.joined.notified() => {}
            }
            let Some(now) = known.borrow_and_update().clone() else { continue };
            let is_new = before.as_ref().is_none_or(|before| !before.is_same_to_proxies(&now));
            let due = self.due(is_new);
            if !due.is_empty() {
                let (objects, mut index) = (now.clone(), std::mem::take(&mut indexed));
                // Which Gateways are ours decides about what they reach, and is no change of an object.
                let has_same_classes = before.as_ref().is_some_and(|before| before.has_same_classes(&now));
                let work = spawn_blocking(move || {
                    let (changed, is_reach_same) = index.update(&objects.store);
                    (reach(&index, &objects, due, &(changed, is_reach_same && has_same_classes)), index)
                });
                match work.await {
                    Ok((states, index)) => {
                        indexed = index;
                        self.tell(states);
                    }
                    // The next change tries again.
                    Err(error) => tracing::error!(%error, "what the proxies need is not known; they keep what they have"),
                }
            }
            before = Some(now);
        }
    }

    /// The Gateways to be looked at: all of them, or those that nothing is known of. Forgets those that have no proxies any more.
    fn due(&self, is_new: bool) -> Vec<(Name, State)> {
        let mut gateways = self.0.gateways.lock();
        gateways.retain(|_, state| !state.is_closed());
        let due = gateways.iter().filter(|(_, state)| is_new || matches!(*state.borrow(), State::Unknown));
        due.map(|(name, state)| (name.clone(), state.borrow().clone())).collect()
    }

    fn tell(&self, states: Vec<(Name, State)>) {
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

/// What Gateways need now, by what they needed when nothing had changed of what is in `changed`.
fn reach(
    indexed: &Indexed,
    known: &Known,
    gateways: Vec<(Name, State)>,
    (changed, is_reach_same): &(Vec<Arc<ObjectKey>>, bool),
) -> Vec<(Name, State)> {
    let mut reaches = None;
    let states = gateways.into_iter().map(|(name, before)| {
        let state = match (known.store.find::<Gateway>(&name.namespace, &name.name), before) {
            (None, _) => State::Gone,
            (Some(_), State::Needs(before)) if *is_reach_same => State::Needs(renewed(before, &known.objects, changed)),
            (Some(_), _) => {
                let reaches = reaches.get_or_insert_with(|| Reaches::new(indexed, &known.settings));
                State::Needs(Arc::new(pick(&known.objects, &reaches.of(&name))))
            }
        };
        (name, state)
    });
    states.collect()
}

/// The same objects, those of these keys as they are now.
fn renewed(mut needed: Arc<Needed>, objects: &Objects, changed: &[Arc<ObjectKey>]) -> Arc<Needed> {
    for (key, now) in changed.iter().filter_map(|key| objects.get_key_value(&**key)) {
        if needed.get(key).is_some_and(|before| before != now) {
            Arc::make_mut(&mut needed).insert(key.clone(), now.clone());
        }
    }
    needed
}

/// The objects of these keys, which come in their order.
fn pick(objects: &Objects, keys: &[&ObjectKey]) -> Needed {
    let share = |(key, json): (&Arc<ObjectKey>, &Json)| (key.clone(), json.clone());
    if keys.len() < objects.len() / LARGE {
        return keys.iter().filter_map(|key| objects.get_key_value(*key).map(share)).collect();
    }
    let mut keys = keys.iter().copied().peekable();
    let needed = objects.iter().filter(|(key, _)| {
        while keys.next_if(|needed| *needed < &***key).is_some() {}
        keys.next_if(|needed| *needed == &***key).is_some()
    });
    needed.map(share).collect()
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
