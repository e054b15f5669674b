//! Counters that several replicas share, by a store that grants leases: nothing that is lost, repeated, late or forgotten admits too much.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use pailou_limits::{
    Admission, Charge, CounterClaim, Counters, Descriptor, ExpectedCost, Grant, Reservation, Sharing, Unleased, Window, WindowKind,
};
use proptest::prelude::*;

const WINDOW: u64 = 60;

/// A store that does as its script does.
#[derive(Default)]
struct Store {
    now: u64,
    counters: HashMap<String, (u64, BTreeMap<u64, u64>)>,
    answers: u64,
}

impl Store {
    fn answer(&mut self, replica: u64, claim: &CounterClaim) -> Grant {
        self.answers += 1;
        let begin = self.now - self.now % claim.claim.seconds;
        let (known, granted) = self.counters.entry(claim.name()).or_default();
        if *known != begin {
            (*known, *granted) = (begin, BTreeMap::new());
        }
        let own = granted.get(&replica).copied().unwrap_or(0);
        let others = granted.iter().filter(|(id, _)| **id != replica).map(|(_, it)| it).sum();
        let grant = claim.claim.decide(begin, own, others);
        match claim.claim.is_last {
            true => {
                granted.remove(&replica);
                *granted.entry(u64::MAX).or_default() += grant.before;
            }
            false => _ = granted.insert(replica, grant.before + grant.granted),
        }
        grant
    }

    /// Granted in the window, to all.
    fn total(&self) -> u64 {
        let begin = self.now - self.now % WINDOW;
        self.counters.values().filter(|(known, _)| *known == begin).flat_map(|(_, granted)| granted.values()).sum()
    }
}

struct Replica {
    id: u64,
    counters: Arc<Counters>,
    sharing: Arc<Sharing>,
    /// Seconds by which its clock is ahead.
    skew: i64,
}

/// Way of a message to the store and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Whole,
    AnswerLost,
    Lost,
}

impl Replica {
    fn new(id: u64, skew: i64) -> Self {
        let (counters, sharing) = (Arc::new(Counters::default()), Arc::new(Sharing::new(1, || {})));
        counters.share(Some(sharing.clone()));
        Self { id, counters, sharing, skew }
    }

    fn now(&self, store: &Store) -> u64 {
        store.now.saturating_add_signed(self.skew)
    }

    fn sync(&self, store: &mut Store, way: Way) {
        let now = self.now(store);
        self.sharing.observe(3, store.now * 1000, now * 1000);
        let claims = self.counters.claims(&self.sharing, now, 1000);
        if way == Way::Lost {
            return self.give_back(claims);
        }
        let grants: Vec<_> = claims.iter().map(|claim| store.answer(self.id, claim)).collect();
        if way == Way::AnswerLost {
            return self.give_back(claims);
        }
        for (claim, grant) in claims.iter().zip(&grants) {
            self.counters.grant(&self.sharing, now, claim, grant);
        }
    }

    fn give_back(&self, claims: Vec<CounterClaim>) {
        claims.into_iter().for_each(|claim| self.counters.give_back(&self.sharing, claim));
    }

    fn sweep(&self, store: &mut Store, all: bool) {
        self.counters.sweep(&self.sharing, self.now(store), all);
        while self.sharing.waiting() > 0 {
            self.sync(store, Way::Whole);
        }
    }

    /// Admits as the proxy does: it asks the store once and again, as long as it is told to.
    fn admit(&self, store: &mut Store, charge: &Charge) -> Option<(u64, Option<Reservation>)> {
        for _ in 0..10 {
            match self.counters.admit_leased(self.now(store), charge) {
                Ok(admission) => return self.outcome(store, admission),
                Err(_) => self.sync(store, Way::Whole),
            }
        }
        panic!("a request waits for ever");
    }

    /// The begin of the window that a request was admitted in.
    fn outcome(&self, store: &Store, admission: Admission) -> Option<(u64, Option<Reservation>)> {
        match admission {
            Admission::Admitted { rate, reservation, .. } => Some((store.now + rate.reset - rate.seconds, reservation)),
            Admission::Refused(_) => None,
        }
    }
}

fn charge(limit: u64, cost: u64, expected: Option<u64>) -> Charge {
    Charge {
        name: "ns/policy/rule/0".into(),
        rule: (1, 2),
        descriptor: Descriptor::default(),
        window: Window { seconds: WINDOW, kind: WindowKind::Epoch },
        limit,
        cost,
        expected: expected.map(ExpectedCost::Known),
        is_shadow: false,
    }
}

fn three() -> (Store, Vec<Replica>) {
    (Store { now: 6000, ..Store::default() }, (0..3).map(|id| Replica::new(id, 0)).collect())
}

#[test]
fn three_replicas_admit_what_one_would() {
    for limit in [1, 3, 10, 1000] {
        let (mut store, replicas) = three();
        let admitted = (0..limit * 2).filter(|at| replicas[*at as usize % 3].admit(&mut store, &charge(limit, 1, None)).is_some());
        assert_eq!(admitted.count() as u64, limit);
        store.now += WINDOW;
        assert!(replicas[0].admit(&mut store, &charge(limit, 1, None)).is_some());
    }
}

#[test]
fn steady_traffic_seldom_asks() {
    let (mut store, replicas) = three();
    for at in 0..6_000 {
        assert!(replicas[at % 3].admit(&mut store, &charge(10_000, 1, None)).is_some());
    }
    assert!(store.answers <= 6_000 * 20 / 1000, "{} answers", store.answers);
}

#[test]
fn a_hundred_at_once_on_a_budget_for_five_let_five_through() {
    let (mut store, replicas) = three();
    let held: Vec<_> = (0..100).filter_map(|at| replicas[at % 3].admit(&mut store, &charge(500, 0, Some(100)))).collect();
    assert_eq!(held.len(), 5);
    for (_, reservation) in held {
        reservation.unwrap().settle(store.now, 60);
    }
    // Two seconds later what was not used has gone back, and is there for all.
    store.now += 2;
    replicas.iter().for_each(|replica| replica.sweep(&mut store, false));
    assert_eq!(store.total(), 300);
    assert!(replicas[2].admit(&mut store, &charge(500, 200, None)).is_some());
}

#[test]
fn a_cost_beyond_the_lease_is_written_and_one_after_the_window_is_the_next_ones() {
    let (mut store, replicas) = three();
    let (_, reservation) = replicas[0].admit(&mut store, &charge(100, 0, Some(10))).unwrap();
    reservation.unwrap().settle(store.now, 250);
    replicas[0].sweep(&mut store, false);
    assert_eq!(store.total(), 250);
    assert!(replicas[1].admit(&mut store, &charge(100, 1, None)).is_none());
    store.now += WINDOW;
    let (_, reservation) = replicas[0].admit(&mut store, &charge(100, 0, Some(10))).unwrap();
    store.now += WINDOW;
    reservation.unwrap().settle(store.now, 40);
    replicas[0].sweep(&mut store, false);
    assert_eq!(store.total(), 40);
}

#[test]
fn without_the_store_each_replica_has_its_part_and_tells_it_later() {
    let (mut store, replicas) = three();
    for replica in &replicas {
        replica.sync(&mut store, Way::Whole);
        replica.sharing.set_down(true);
        assert!(replica.counters.admit_leased(store.now, &charge(9, 1, None)).is_err());
        let admitted = (0..9).filter(|_| {
            let admission = replica.counters.admit(store.now, &charge(9, 1, None));
            replica.outcome(&store, admission).is_some()
        });
        assert_eq!(admitted.count(), 3);
    }
    for replica in &replicas {
        replica.sharing.set_down(false);
        replica.sweep(&mut store, true);
    }
    assert_eq!(store.total(), 9);
    assert!(replicas[0].admit(&mut store, &charge(9, 1, None)).is_none());
}

#[test]
fn a_store_that_lost_everything_hears_it_again() {
    let (mut store, replicas) = three();
    let admitted = (0..20).filter(|at| replicas[at % 3].admit(&mut store, &charge(30, 1, None)).is_some()).count();
    assert_eq!(admitted, 20);
    store.counters.clear();
    replicas.iter().for_each(|replica| replica.sweep(&mut store, true));
    let more = (0..100).filter(|at| replicas[at % 3].admit(&mut store, &charge(30, 1, None)).is_some()).count();
    assert_eq!(admitted + more, 30);
}

#[test]
fn a_replica_that_ends_gives_back_and_one_that_dies_keeps_its_lease() {
    let (mut store, mut replicas) = three();
    let limit = charge(240, 1, None);
    replicas.iter().for_each(|replica| assert!(replica.admit(&mut store, &limit).is_some()));
    let leased = store.total();
    assert!(leased > 3);
    let last = replicas.remove(0);
    for claim in last.counters.last_claims(&last.sharing, store.now) {
        store.answer(last.id, &claim);
    }
    assert!(store.total() < leased);
    drop(replicas.remove(0));
    let left = (0..240).filter(|_| replicas[0].admit(&mut store, &limit).is_some()).count() as u64;
    assert!((237 - 240 / 8..237).contains(&left), "{left}");
}

#[test]
fn a_counter_that_the_store_refuses_is_counted_without_it_and_asked_for_again() {
    let (mut store, replicas) = three();
    let replica = &replicas[0];
    replica.sync(&mut store, Way::Whole);
    let nine = charge(9, 1, None);
    assert_eq!(replica.counters.admit_leased(store.now, &nine).unwrap_err(), Unleased::Asked);
    for claim in replica.counters.claims(&replica.sharing, store.now, 10) {
        replica.counters.refuse(&replica.sharing, store.now, &claim);
    }
    assert_eq!(replica.counters.admit_leased(store.now, &nine).unwrap_err(), Unleased::Refused);
    let admitted = (0..9).filter(|_| {
        let admission = replica.counters.admit(store.now, &nine);
        replica.outcome(&store, admission).is_some()
    });
    assert_eq!(admitted.count(), 3);
    // Others are not; and nobody asks before its time.
    assert!(replica.admit(&mut store, &Charge { rule: (3, 2), ..charge(5, 1, None) }).is_some());
    let answers = store.answers;
    replica.sweep(&mut store, false);
    assert_eq!((replica.sharing.waiting(), store.answers), (0, answers));
    store.now += 2;
    replica.sweep(&mut store, false);
    assert_eq!(store.answers, answers + 1);
    let left = (0..20).filter(|_| replicas[1].admit(&mut store, &nine).is_some()).count();
    assert_eq!(left, 6);
    // The window is over, and the store answers: no request comes, and none asks.
    replica.sweep(&mut store, false);
}

#[derive(Clone, Debug)]
enum Step {
    Admit { replica: usize, cost: u64, expected: Option<u64> },
    Settle { which: usize, cost: u64 },
    Drop { which: usize },
    Ask { replica: usize },
    Sync { replica: usize, way: Way },
    Sweep { replica: usize },
    Crash { replica: usize },
    Stop { replica: usize },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let replica = || 0_usize..3;
    let way = prop_oneof![2 => Just(Way::Whole), 1 => Just(Way::AnswerLost), 1 => Just(Way::Lost)];
    prop_oneof![
        6 => (replica(), 0_u64..4, proptest::option::of(1_u64..30)).prop_map(|(replica, cost, expected)| Step::Admit { replica, cost, expected }),
        3 => (0_usize..8, 0_u64..30).prop_map(|(which, cost)| Step::Settle { which, cost }),
        1 => (0_usize..8).prop_map(|which| Step::Drop { which }),
        2 => replica().prop_map(|replica| Step::Ask { replica }),
        3 => (replica(), way).prop_map(|(replica, way)| Step::Sync { replica, way }),
        2 => replica().prop_map(|replica| Step::Sweep { replica }),
        1 => replica().prop_map(|replica| Step::Crash { replica }),
        1 => replica().prop_map(|replica| Step::Stop { replica }),
        2 => (0_u64..25).prop_map(Step::Wait),
    ]
}

proptest! {
    /// In any order of events: what is granted in a window stays within the limit, but for costs that were more than was
    /// held; and no replica has spent what the store does not know.
    #[test]
    fn the_sum_stays_within_the_limit(limit in 1_u64..200, skews in proptest::array::uniform3(-5_i64..5), steps in proptest::collection::vec(step(), 0..150)) {
        let mut store = Store { now: 6000, ..Store::default() };
        let mut replicas: Vec<_> = skews.iter().zip(0..).map(|(skew, id)| Replica::new(id, *skew)).collect();
        let mut next = 3;
        // By the window's begin: admitted or settled, and how much of that nobody asked room for.
        let (mut spent, mut beyond) = (BTreeMap::<u64, u64>::new(), BTreeMap::<u64, u64>::new());
        let mut held = Vec::<(usize, u64, u64, Reservation)>::new();
        for step in steps {
            let begin = store.now - store.now % WINDOW;
            match step {
                Step::Admit { replica, cost, expected } => {
                    if let Some((of, reservation)) = replicas[replica].admit(&mut store, &charge(limit, cost, expected)) {
                        prop_assert_eq!(of, begin);
                        *spent.entry(of).or_default() += cost;
                        held.extend(reservation.map(|it| (replica, replicas[replica].id, of, it)));
                    }
                }
                Step::Settle { which, cost } if which < held.len() => {
                    let (replica, id, of, reservation) = held.swap_remove(which);
                    let room = if of == begin { reservation.held() } else { 0 };
                    reservation.settle(replicas[replica].now(&store), cost);
                    if replicas[replica].id == id {
                        *spent.entry(begin).or_default() += cost;
                        *beyond.entry(begin).or_default() += cost.saturating_sub(room);
                        // A window that is over is left behind at once, so that the cost is of this one.
                        replicas[replica].sweep(&mut store, false);
                    }
                }
                Step::Drop { which } if which < held.len() => drop(held.swap_remove(which)),
                Step::Ask { replica } => _ = replicas[replica].counters.admit_leased(replicas[replica].now(&store), &charge(limit, limit, None)),
                Step::Sync { replica, way } => replicas[replica].sync(&mut store, way),
                Step::Sweep { replica } => replicas[replica].sweep(&mut store, false),
                Step::Crash { replica } => {
                    replicas[replica] = Replica::new(next, skews[replica]);
                    next += 1;
                }
                Step::Stop { replica } => {
                    let last = std::mem::replace(&mut replicas[replica], Replica::new(next, skews[replica]));
                    next += 1;
                    let now = last.now(&store);
                    last.counters.last_claims(&last.sharing, now).iter().for_each(|claim| _ = store.answer(last.id, claim));
                }
                Step::Wait(seconds) => store.now += seconds,
                Step::Settle { .. } | Step::Drop { .. } => {}
            }
            let begin = store.now - store.now % WINDOW;
            let (spent, beyond) = (spent.get(&begin).copied().unwrap_or(0), beyond.get(&begin).copied().unwrap_or(0));
            prop_assert!(spent <= limit + beyond, "{spent} of {limit} and {beyond}");
        }
        // Everything comes to rest: the store knows at least what was spent.
        held.clear();
        replicas.iter().for_each(|replica| replica.sweep(&mut store, true));
        let begin = store.now - store.now % WINDOW;
        prop_assert!(store.total() >= spent.get(&begin).copied().unwrap_or(0));
    }
}
