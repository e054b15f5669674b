//! Counters in memory.

use std::{
    convert::Infallible,
    sync::{Arc, atomic::AtomicBool},
};

use arc_swap::ArcSwapOption;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::{
    Descriptor, Reservation, Window, WindowKind,
    lease::Demand,
    rule_counters::{Charged, Counter, RuleCounters},
    sharing::{Sharing, Unleased},
};

/// Locks, so that workers seldom meet.
const SHARDS: usize = 64;

/// All counters of a process. They outlive changes of the configuration.
#[derive(Debug)]
pub struct Counters {
    pub(crate) shards: [Mutex<HashMap<RuleKey, RuleCounters>>; SHARDS],
    /// Sharing with other replicas; without, every process counts alone.
    pub(crate) sharing: ArcSwapOption<Sharing>,
    /// Whether there is one: most processes count alone, and ask for each charge.
    pub(crate) is_shared: AtomicBool,
}

/// Identity of a rule's counters: the rule by its content, the targets that share it, and the length of the window, which clients may have
/// of their own.
pub(crate) type RuleKey = (u64, u64, u64);

/// Identity of a counter.
#[derive(Clone, Debug)]
pub(crate) struct CounterKey {
    pub(crate) rule: RuleKey,
    pub(crate) descriptor: Descriptor,
    window: Window,
}

/// Charge of a request to one counter.
#[derive(Clone, Debug)]
pub struct Charge {
    /// The rule's name.
    pub name: Arc<str>,
    /// Identity of the rule, and of the targets that share its counters.
    pub rule: (u64, u64),
    /// Values that tell its counters apart.
    pub descriptor: Descriptor,
    /// The window.
    pub window: Window,
    /// Cost that a window has room for.
    pub limit: u64,
    /// Cost of the request.
    pub cost: u64,
    /// Expected cost of the response; `None` if responses cost nothing.
    pub expected: Option<ExpectedCost>,
    /// The rule refuses nothing.
    pub is_shadow: bool,
}

/// Expected cost of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedCost {
    /// The client allows for so much.
    Known(u64),
    /// Experience tells it, but no less than this counts: answers of others, who may have asked for little, teach nobody to hold nothing.
    Learned(u64),
}

/// Sizes of a rule's responses so far: costs, or output tokens where costs are computed of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Experience {
    /// A size that most responses stay below.
    pub typical: u64,
    /// A size that a response hardly ever has: a client that allows for more reserves no more, and keeps no others out.
    pub plausible: u64,
}

/// Outcome of a charge.
#[derive(Debug)]
pub enum Admission {
    /// There was room.
    Admitted {
        /// The counter afterwards.
        rate: Rate,
        /// Begin of the window that is charged, for [`Counters::refund`].
        begin: u64,
        /// Room held for the response.
        reservation: Option<Reservation>,
        /// There was no room, and the rule refuses nothing.
        is_over: bool,
    },
    /// There was none. Nothing was charged.
    Refused(Rate),
}

/// Cost of a response that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SettledCost {
    pub(crate) now: u64,
    pub(crate) cost: u64,
    /// Size of the response, where it tells of those to come.
    pub(crate) learned: Option<u64>,
}

/// State of a counter, for headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Cost that a window has room for.
    pub limit: u64,
    /// Length of the window, seconds.
    pub seconds: u64,
    /// Room left.
    pub remaining: u64,
    /// Seconds to the end of the window.
    pub reset: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            sharing: ArcSwapOption::empty(),
            is_shared: AtomicBool::new(false),
        }
    }
}

impl CounterKey {
    /// Key of a counter that replicas share, by the rule and the values that it is kept by.
    pub(crate) fn of_shared(rule: RuleKey, bytes: &[u8]) -> Self {
        let window = Window { seconds: rule.2, kind: WindowKind::Epoch };
        Self { rule, descriptor: Descriptor::of_bytes(bytes), window }
    }
}

impl Charge {
    fn rule_key(&self) -> RuleKey {
        (self.rule.0, self.rule.1, self.window.seconds)
    }
}

impl Counters {
    /// Charges a request, and holds room for its response: the expected cost, or what is left of it. `now` is in seconds since 1970.
    ///
    /// A request passes as long as anything is left, and its own cost fits; a response may cost more than was held. One client alone so sees
    /// what Envoy Gateway's limits do, and clients at the same time see each other.
    ///
    /// A counter that replicas share, and that has no lease, is decided on without the store: by this replica's part of what was last left.
    pub fn admit(self: &Arc<Self>, now: u64, charge: &Charge) -> Admission {
        self.admit_alone(now, charge, self.sharing_of(charge.window.kind).as_deref())
    }

    fn admit_alone(self: &Arc<Self>, now: u64, charge: &Charge, sharing: Option<&Sharing>) -> Admission {
        let Some(sharing) = sharing else { return self.admit_unshared(now, charge) };
        let now = sharing.time(now);
        let Ok(admission) =
            self.charge(now, charge, |counter, _, _| Ok::<_, Infallible>(counter.alone(now, charge.window, sharing.replicas())));
        admission
    }

    fn admit_unshared(self: &Arc<Self>, now: u64, charge: &Charge) -> Admission {
        let Ok(admission) = self.charge(now, charge, |counter, _, _| {
            counter.lease = None;
            counter.turn(now, charge.window);
            Ok::<_, Infallible>(counter.left())
        });
        admission
    }

    /// The same, but only where a counter that replicas share has a lease.
    ///
    /// # Errors
    /// It has none, or too little is left of it. The store is asked for more; the caller comes again when it has answered.
    pub fn admit_leased(self: &Arc<Self>, now: u64, charge: &Charge) -> Result<Admission, Unleased> {
        let sharing = self.sharing_of(charge.window.kind);
        if sharing.is_none() {
            return Ok(self.admit_unshared(now, charge));
        }
        // A limit that refuses nothing waits for nothing.
        let Some(sharing) = sharing.as_deref().filter(|_| !charge.is_shadow && charge.limit > 0) else {
            return Ok(self.admit_alone(now, charge, sharing.as_deref()));
        };
        let now = sharing.time(now);
        let mut asked = None;
        let admission = self.charge(now, charge, |counter, key, demand| {
            let left = counter.leased(now, demand).ok_or(Unleased::Asked);
            if sharing.is_down() {
                // Nobody waits for it.
                return left;
            }
            if counter.is_refused() {
                return left.map_err(|_| Unleased::Refused);
            }
            if left.is_err() {
                counter.demand(demand);
            }
            let is_wanted = left.is_err() || counter.is_low();
            if is_wanted && !counter.lease().is_queued && sharing.has_room() {
                counter.lease().is_queued = true;
                asked = Some(CounterKey { rule: key, descriptor: charge.descriptor.clone(), window: charge.window });
            }
            left
        });
        if let Some(key) = asked {
            sharing.push(key);
        }
        admission
    }

    pub(crate) fn charge<E>(
        self: &Arc<Self>,
        now: u64,
        charge: &Charge,
        room: impl FnOnce(&mut Counter, RuleKey, Demand) -> Result<u64, E>,
    ) -> Result<Admission, E> {
        let key = charge.rule_key();
        let mut shard = self.shard(key).lock();
        let charge_by = |rule: &mut RuleCounters| rule.charge(now, charge, |counter, demand| room(counter, key, demand));
        let charged = match shard.get_mut(&key) {
            Some(rule) => charge_by(rule),
            None => {
                let charged = charge_by(shard.entry(key).or_insert(RuleCounters::new(charge)));
                // Rules that the configuration does not have any more go when others come.
                shard.retain(|other, rule| *other == key || rule.is_live(now));
                charged
            }
        };
        drop(shard);
        Ok(match charged? {
            Err(rate) => Admission::Refused(rate),
            Ok(Charged { rate, begin, held, is_over }) => {
                let reservation = held.map(|held| Reservation {
                    counters: self.clone(),
                    key: Box::new(CounterKey { rule: key, descriptor: charge.descriptor.clone(), window: charge.window }),
                    begin,
                    held,
                });
                Admission::Admitted { rate, begin, reservation, is_over }
            }
        })
    }

    /// Experience with responses to requests that this charge's rule counts.
    pub fn experience(&self, charge: &Charge) -> Experience {
        let key = charge.rule_key();
        let typical = self.shard(key).lock().get(&key).map(|rule| rule.typical).unwrap_or_default();
        Experience { typical: typical.get(), plausible: typical.plausible() }
    }

    /// Takes back the cost of a request that another rule refused. `begin` is that of the window that was charged; a later one owes nothing.
    pub fn refund(&self, begin: u64, charge: &Charge) {
        let key = charge.rule_key();
        let mut shard = self.shard(key).lock();
        let Some(rule) = shard.get_mut(&key) else { return };
        if let Some(counter) = rule.counters.get_mut(charge.descriptor.as_bytes()).filter(|counter| counter.begin == begin) {
            counter.spent = counter.spent.saturating_sub(charge.cost);
        }
    }

    /// Holds further room in the window that begins then, also where none is left: it is being spent. Gives back whether the window lasts.
    pub(crate) fn hold(&self, key: &CounterKey, begin: u64, more: u64) -> bool {
        let mut shard = self.shard(key.rule).lock();
        let counter = shard.get_mut(&key.rule).and_then(|rule| rule.counters.get_mut(key.descriptor.as_bytes()));
        let Some(counter) = counter.filter(|counter| counter.begin == begin) else { return false };
        counter.held = counter.held.saturating_add(more);
        true
    }

    /// Gives held room back, and charges a cost.
    pub(crate) fn settle(&self, key: &CounterKey, begin: u64, held: u64, cost: Option<SettledCost>) {
        let sharing = self.sharing_of(key.window.kind);
        let mut shard = self.shard(key.rule).lock();
        // A rule that was removed meanwhile has no counters.
        let Some(rule) = shard.get_mut(&key.rule) else { return };
        if let Some(SettledCost { now, cost, learned }) = cost {
            if let Some(size) = learned {
                rule.typical.learn(size);
            }
            rule.with_counter(now, &key.descriptor, key.window, |counter| {
                match &sharing {
                    Some(sharing) => counter.spend_leased(sharing.time(now), cost),
                    None => {
                        counter.turn(now, key.window);
                        counter.spent = counter.spent.saturating_add(cost);
                    }
                }
                counter.release(begin, held);
            });
            return;
        }
        if let Some(counter) = rule.counters.get_mut(key.descriptor.as_bytes()) {
            counter.release(begin, held);
        }
    }

    pub(crate) fn shard(&self, (rule, target, _): RuleKey) -> &Mutex<HashMap<RuleKey, RuleCounters>> {
        &self.shards[(rule ^ target.rotate_left(7)) as usize % SHARDS]
    }
}
