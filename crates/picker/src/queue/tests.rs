//! The queue of a pool whose metrics are what a test says. An endpoint has room for two requests, unless a test says otherwise.

mod room;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake},
};

use pailou_snapshot::{ClusterKey, EndpointKey, FailureMode, PickerKind, Pool, RoutingStrategy};
use proptest::prelude::*;

use super::*;
use crate::{
    Affinity, PickError, PickRequest, Picked, PoolState,
    testing::{Fixture, address, endpoints, load, pool, standard},
};

const SETTINGS: Queueing = Queueing {
    max_requests: 100,
    max_bytes: 1 << 20,
    timeout: Duration::from_secs(60),
    max_concurrency: Some(2),
    reserve: 0,
    evicts: false,
};

fn queueing(settings: Queueing) -> Arc<Pool> {
    Arc::new(Pool { queueing: Some(settings), ..Pool::clone(&pool(RoutingStrategy::Load)) })
}

/// A pool whose requests wait, of so many endpoints.
fn fixture(count: usize, settings: Queueing) -> (Fixture, Runtime) {
    let fixture = Fixture::new(RoutingStrategy::Load, count);
    fixture.state.update(queueing(settings), &endpoints(0..count));
    (fixture, Runtime::new())
}

/// A runtime for the timers of requests that are polled by hand.
struct Runtime(tokio::runtime::Runtime);

impl Runtime {
    fn new() -> Self {
        Self(tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap())
    }
}

#[test]
fn a_pool_says_by_its_latest_settings_whether_requests_wait() {
    let (fixture, _runtime) = fixture(1, SETTINGS);
    let waits = || (fixture.state.has_queueing(), fixture.state.queues_at_external_picker());
    assert_eq!(waits(), (true, false));
    let plain = pool(RoutingStrategy::Load);
    let cluster = ClusterKey { endpoints: EndpointKey::Pool(plain.name.clone()), variant: 0 };
    let picker = |queues| PickerKind::External {
        cluster: cluster.clone(),
        failure_mode: FailureMode::FailOpen,
        timeout: Duration::from_secs(1),
        queues,
    };
    for (picker, expected) in [(picker(true), (false, true)), (picker(false), (false, false))] {
        fixture.state.update(Arc::new(Pool { picker, ..Pool::clone(&plain) }), &endpoints(0..1));
        assert_eq!(waits(), expected);
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A request that waits, or was picked for.
struct Waiting<'a> {
    future: Pin<Box<dyn Future<Output = Result<Picked, PickError>> + 'a>>,
    woken: Arc<Woken>,
    /// Times it was woken at its last poll.
    seen: usize,
}

impl<'a> Waiting<'a> {
    fn new(state: &'a PoolState, request: PickRequest<'a>, terms: QueueTerms<'a>) -> Self {
        let future = Box::pin(async move { state.pick_or_wait(&request, &terms).await });
        Self { future, woken: Arc::default(), seen: 0 }
    }

    fn poll(&mut self) -> Poll<Result<Picked, PickError>> {
        self.seen = self.woken.0.load(Ordering::SeqCst);
        self.future.as_mut().poll(&mut Context::from_waker(&Arc::clone(&self.woken).into()))
    }

    fn is_woken(&self) -> bool {
        self.woken.0.load(Ordering::SeqCst) > self.seen
    }
}

fn priority(priority: i32) -> QueueTerms<'static> {
    QueueTerms { priority, ..QueueTerms::default() }
}

/// Begins to wait.
fn begin<'a>(fixture: &'a Fixture, terms: QueueTerms<'a>) -> Waiting<'a> {
    let mut waiting = Waiting::new(&fixture.state, standard(), terms);
    assert!(waiting.poll().is_pending());
    waiting
}

/// The request that is woken is picked for, and no other is woken.
fn goes(waiting: &mut [Waiting<'_>], which: usize) -> Picked {
    let woken: Vec<_> = waiting.iter().enumerate().filter(|(_, it)| it.is_woken()).map(|(place, _)| place).collect();
    assert_eq!(woken, [which]);
    let Poll::Ready(Ok(picked)) = waiting[which].poll() else { panic!("there is room") };
    picked
}

#[test]
fn a_request_that_ends_lets_the_first_of_the_highest_priority_go() {
    let (fixture, runtime) = fixture(1, SETTINGS);
    let _entered = runtime.0.enter();
    let mut held = vec![fixture.pick(&standard()), fixture.pick(&standard())];
    let mut waiting = [0, -1, 1].map(|it| begin(&fixture, priority(it)));
    for expected in [2, 0, 1] {
        // The next to have the turn finds no room.
        waiting.iter_mut().filter(|it| it.is_woken()).for_each(|it| assert!(it.poll().is_pending()));
        assert!(waiting.iter().all(|it| !it.is_woken()));
        held.remove(0);
        held.push(goes(&mut waiting, expected));
        assert!(held[1].waited().is_some());
        assert_eq!(fixture.in_flight(), [2]);
    }
    drop(held);
    drop(waiting);
    let report = fixture.state.queue().unwrap();
    assert!(report.levels.is_empty());
    let outcomes: Vec<_> = report.counts.iter().map(|(priority, counts)| (priority.unwrap(), counts.outcomes[0])).collect();
    assert_eq!(outcomes, [(-1, 1), (0, 1), (1, 1)]);
}

#[test]
fn a_request_that_comes_does_not_overtake_those_that_wait() {
    let (fixture, runtime) = fixture(1, SETTINGS);
    let _entered = runtime.0.enter();
    let held = [fixture.pick(&standard()), fixture.pick(&standard())];
    let mut waiting = [begin(&fixture, priority(0))];
    drop(held);
    assert_eq!(fixture.in_flight(), [0]);
    assert!(fixture.state.pick_if_room(&standard()).is_err(), "somebody else's turn");
    let mut late = Waiting::new(&fixture.state, standard(), priority(0));
    assert!(late.poll().is_pending() && !late.is_woken());
    let _first = goes(&mut waiting, 0);
    assert!(late.is_woken());
    assert!(matches!(late.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn one_scrape_opens_the_gate_for_as_many_as_it_showed_room_for() {
    let (fixture, runtime) = fixture(2, Queueing { max_concurrency: None, ..SETTINGS });
    let _entered = runtime.0.enter();
    let full = |member| fixture.scraped(member, load(5.0, 4.0, 0.1));
    (0..2).for_each(full);
    let mut waiting: Vec<_> = (0..20).map(|_| begin(&fixture, priority(0))).collect();
    // Room for two at one of them.
    fixture.scraped(1, load(3.0, 4.0, 0.1));
    fixture.state.members().queue.note_room();
    let mut held = Vec::new();
    while let Some(place) = waiting.iter().position(Waiting::is_woken) {
        if let Poll::Ready(picked) = waiting[place].poll() {
            held.push(picked.unwrap());
            drop(waiting.remove(place));
        }
    }
    assert_eq!((held.len(), fixture.in_flight()), (2, vec![0, 2]));
}

#[test]
fn a_client_that_leaves_with_the_turn_passes_it_on() {
    let (fixture, runtime) = fixture(1, SETTINGS);
    let _entered = runtime.0.enter();
    let mut held = vec![fixture.pick(&standard()), fixture.pick(&standard())];
    let (first, second) = (begin(&fixture, priority(0)), begin(&fixture, priority(0)));
    let mut last = [begin(&fixture, priority(0))];
    held.pop();
    assert!(first.is_woken() && !second.is_woken());
    drop(second);
    drop(first);
    let _picked = goes(&mut last, 0);
    assert_eq!(fixture.in_flight(), [2]);
    let counts = fixture.state.queue().unwrap().counts;
    assert_eq!(counts[0].1.outcomes, [1, 0, 0, 0, 0, 2, 0, 0]);
}

#[test]
fn stale_metrics_keep_nobody_from_an_endpoint_that_has_room_by_our_own_requests() {
    let (fixture, runtime) = fixture(1, Queueing { max_concurrency: None, ..SETTINGS });
    let _entered = runtime.0.enter();
    let long_ago = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
    fixture.scraped_at(0, load(50.0, 4.0, 0.9), long_ago);
    let mut request = Waiting::new(&fixture.state, standard(), priority(0));
    assert!(matches!(request.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn without_recent_metrics_an_endpoint_takes_as_many_as_it_was_seen_to_run_of_late() {
    let (fixture, runtime) = fixture(1, Queueing { max_concurrency: None, ..SETTINGS });
    let _entered = runtime.0.enter();
    let long_ago = Instant::now().checked_sub(Duration::from_secs(30)).unwrap();
    // A queue that stands shows that four is all that it runs.
    (0..2).for_each(|_| fixture.scraped_at(0, load(3.0, 4.0, 0.1), long_ago));
    let held: Vec<_> = std::iter::from_fn(|| fixture.state.pick_if_room(&standard()).ok()).take(100).collect();
    assert_eq!(held.len(), 9, "four that run, and five that wait");
    let mut waiting = [begin(&fixture, priority(0))];
    drop(held);
    drop(goes(&mut waiting, 0));
}

#[test]
fn a_hash_yields_to_the_bound_of_requests_and_a_session_does_not() {
    let (fixture, _runtime) = fixture(2, SETTINGS);
    let toward = |while_saturated| {
        let affinity = Some(Affinity { slot: 0, while_saturated });
        fixture.state.pick_if_room(&PickRequest { affinity, ..standard() }).unwrap()
    };
    let held = [toward(false), toward(false)];
    assert!(held.iter().all(|picked| picked.endpoint().slot() == 0));
    let elsewhere = toward(false);
    assert_eq!(elsewhere.endpoint().slot(), 1);
    assert_eq!(toward(true).endpoint().slot(), 0);
}

#[test]
fn an_endpoint_that_joins_gets_those_that_wait() {
    let (fixture, runtime) = fixture(0, SETTINGS);
    let _entered = runtime.0.enter();
    let mut waiting = [begin(&fixture, priority(0)), begin(&fixture, priority(0))];
    fixture.state.update(queueing(SETTINGS), &endpoints(0..1));
    let _first = goes(&mut waiting, 0);
    let _second = goes(&mut waiting[1..], 0);
    assert_eq!(fixture.in_flight(), [2]);
}

#[test]
fn a_reload_keeps_the_queue_and_one_that_turns_it_off_empties_it() {
    let (fixture, runtime) = fixture(1, SETTINGS);
    let _entered = runtime.0.enter();
    let _held = [fixture.pick(&standard()), fixture.pick(&standard())];
    let mut waiting = begin(&fixture, priority(0));
    fixture.state.update(queueing(Queueing { max_requests: 7, ..SETTINGS }), &endpoints(0..1));
    assert!(waiting.poll().is_pending());
    assert_eq!(fixture.state.queue().unwrap().levels[0].requests, 1);
    fixture.state.update(pool(RoutingStrategy::Load), &endpoints(0..1));
    assert!(waiting.is_woken());
    assert!(matches!(waiting.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn a_priority_whose_queue_is_full_refuses_and_others_do_not() {
    let (fixture, runtime) = fixture(1, Queueing { max_requests: 2, max_bytes: 1000, ..SETTINGS });
    let _entered = runtime.0.enter();
    let _held = [fixture.pick(&standard()), fixture.pick(&standard())];
    let refused = |priority_of, bytes| {
        let request = PickRequest { input_bytes: bytes, ..standard() };
        let mut waiting = Waiting::new(&fixture.state, request, priority(priority_of));
        match waiting.poll() {
            Poll::Ready(Err(error)) => error.dropped_reason(),
            Poll::Ready(Ok(_)) => panic!("there is no room"),
            Poll::Pending => "waits",
        }
    };
    assert_eq!(refused(0, 1001), "rejected-saturated", "too many bytes");
    let _waiting = [begin(&fixture, priority(0)), begin(&fixture, priority(0))];
    assert_eq!(refused(0, 1), "rejected-saturated");
    assert_eq!(refused(-1, 1), "waits");
    assert_eq!(refused(1, 1), "waits");
}

#[test]
fn time_that_runs_out_is_told_apart_from_an_empty_pool() {
    let (short, long) = (Duration::from_millis(20), Duration::from_secs(3600));
    for (count, configured, client, expected) in [
        (1, short, None, "rejected-ttl-expired"),
        (1, long, Some(short), "rejected-ttl-expired"),
        (1, short, Some(long), "rejected-ttl-expired"),
        (1, long, Some(Duration::ZERO), "rejected-ttl-expired"),
        (0, long, Some(short), "rejected-no-endpoints"),
    ] {
        let (fixture, runtime) = fixture(count, Queueing { timeout: configured, ..SETTINGS });
        let _held: Vec<_> = (0..2 * count).map(|_| fixture.pick(&standard())).collect();
        let begun = Instant::now();
        let terms = QueueTerms { timeout: client, ..QueueTerms::default() };
        let request = standard();
        let error = runtime.0.block_on(fixture.state.pick_or_wait(&request, &terms)).err().unwrap();
        assert_eq!(error.dropped_reason(), expected);
        assert!(begun.elapsed() >= client.unwrap_or(configured).min(configured));
        assert!(fixture.state.queue().unwrap().levels.is_empty());
    }
}

#[test]
fn a_subset_without_room_holds_up_no_other_flow_and_one_without_endpoints_does_not_wait() {
    let (fixture, runtime) = fixture(2, SETTINGS);
    let _entered = runtime.0.enter();
    let (first, second, elsewhere) = ([address(0)], [address(1)], [address(9)]);
    let held: Vec<_> = (0..4).map(|_| fixture.pick(&standard())).collect();
    let restricted = |subset| PickRequest { subset: Some(subset), ..standard() };
    let flow = |flow| QueueTerms { flow: Some(flow), ..QueueTerms::default() };
    let mut a = Waiting::new(&fixture.state, restricted(&first), flow("a"));
    let mut b = Waiting::new(&fixture.state, restricted(&second), flow("b"));
    assert!(a.poll().is_pending() && b.poll().is_pending());
    let ended = held.into_iter().filter(|it| *it.endpoint().endpoint().address.to_string() != *address(1).to_string());
    let _rest: Vec<_> = ended.collect();
    // Both places of the second endpoint are free; the first of the queue cannot use them.
    assert!(a.is_woken() && a.poll().is_pending());
    assert!(b.is_woken() && matches!(b.poll(), Poll::Ready(Ok(_))));
    let mut hopeless = Waiting::new(&fixture.state, restricted(&elsewhere), flow("c"));
    assert!(matches!(hopeless.poll(), Poll::Ready(Err(PickError::NoEndpoints))));
}

#[test]
fn a_full_subset_holds_up_none_but_those_of_the_same_in_the_flow_of_all() {
    let (fixture, runtime) = fixture(2, SETTINGS);
    let _entered = runtime.0.enter();
    let subset = [address(0)];
    let restricted = || Waiting::new(&fixture.state, PickRequest { subset: Some(&subset), ..standard() }, priority(0));
    let held: Vec<_> = (0..4).map(|_| fixture.pick(&standard())).collect();
    let (mut first, mut second) = (restricted(), restricted());
    assert!(first.poll().is_pending() && second.poll().is_pending());
    let mut open = begin(&fixture, priority(0));
    let (at_first, at_second): (Vec<_>, Vec<_>) = held.into_iter().partition(|it| it.endpoint().slot() == 0);
    drop(at_second);
    assert!(first.is_woken() && first.poll().is_pending());
    assert!(open.is_woken() && matches!(open.poll(), Poll::Ready(Ok(_))));
    assert!(!second.is_woken(), "first come, first served");
    drop(at_first);
    assert!(first.is_woken() && matches!(first.poll(), Poll::Ready(Ok(_))));
    assert!(second.is_woken() && matches!(second.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn for_those_that_wait_for_a_subset_nothing_is_broken_off() {
    let (fixture, runtime) = fixture(2, Queueing { evicts: true, ..SETTINGS });
    let _entered = runtime.0.enter();
    let batch: Vec<_> = (0..4).map(|_| fixture.pick(&PickRequest { priority: -1, ..standard() })).collect();
    let subset = [address(0)];
    let restricted = || Waiting::new(&fixture.state, PickRequest { subset: Some(&subset), ..standard() }, priority(1));
    let mut waiting = [restricted(), restricted(), restricted()];
    waiting.iter_mut().for_each(|it| assert!(it.poll().is_pending()));
    let _open = begin(&fixture, priority(0));
    let context = Context::from_waker(std::task::Waker::noop());
    let evicted = batch.iter().filter(|it| it.eviction().unwrap().poll_given(&context)).count();
    assert_eq!(evicted, 1, "one request waits for any endpoint");
}

#[test]
fn a_request_that_found_no_room_and_leaves_lets_those_behind_it_look() {
    let (fixture, runtime) = fixture(2, Queueing { max_requests: 1000, ..SETTINGS });
    let _entered = runtime.0.enter();
    let subset = [address(0)];
    let restricted = || PickRequest { subset: Some(&subset), ..standard() };
    let _held: Vec<_> = (0..2).map(|_| fixture.pick(&restricted())).collect();
    let names: Vec<_> = (0..band::MAX_FLOWS).map(|number| number.to_string()).collect();
    let waits = |flow| {
        let mut waiting = Waiting::new(&fixture.state, restricted(), QueueTerms { flow, ..QueueTerms::default() });
        assert!(waiting.poll().is_pending());
        waiting
    };
    let _others: Vec<_> = names.iter().map(|name| waits(Some(name))).collect();
    // There is no room for further flows: these two share one.
    let head = waits(None);
    let shared = band::shared_flow(&flow_name(None, Some(&subset)));
    let other = (0..).map(|number| format!("next-{number}")).find(|name| band::shared_flow(name) == shared).unwrap();
    let mut next = begin(&fixture, QueueTerms { flow: Some(&other), ..QueueTerms::default() });
    assert!(!next.is_woken());
    drop(head);
    assert!(next.is_woken() && matches!(next.poll(), Poll::Ready(Ok(_))));
}

#[test]
fn a_request_whose_endpoints_are_gone_is_refused_at_once_and_lets_others_go() {
    let (fixture, runtime) = fixture(2, SETTINGS);
    let _entered = runtime.0.enter();
    let first = [address(0)];
    let held: Vec<_> = (0..4).map(|_| fixture.pick(&standard())).collect();
    let mut restricted = Waiting::new(&fixture.state, PickRequest { subset: Some(&first), ..standard() }, priority(1));
    assert!(restricted.poll().is_pending());
    let mut other = begin(&fixture, priority(0));
    fixture.state.update(queueing(SETTINGS), &endpoints(1..2));
    assert!(restricted.is_woken());
    assert!(matches!(restricted.poll(), Poll::Ready(Err(PickError::NoEndpoints))));
    drop(restricted);
    assert!(other.is_woken() && other.poll().is_pending());
    drop(held);
    assert!(other.is_woken() && matches!(other.poll(), Poll::Ready(Ok(_))));
    let counts = fixture.state.queue().unwrap().counts;
    assert_eq!(counts[1].1.outcomes[QueueOutcome::NoEndpoints as usize], 1);
}

#[test]
fn a_request_restricted_to_endpoints_that_an_empty_pool_lacks_does_not_wait() {
    let (fixture, runtime) = fixture(0, SETTINGS);
    let _entered = runtime.0.enter();
    let mut restricted = Waiting::new(&fixture.state, PickRequest { subset: Some(&[]), ..standard() }, priority(0));
    assert!(matches!(restricted.poll(), Poll::Ready(Err(PickError::NoEndpoints))));
}

#[test]
fn the_end_of_the_requests_own_time_is_told_apart_from_a_client_that_leaves() {
    let (fixture, runtime) = fixture(1, SETTINGS);
    let _held = [fixture.pick(&standard()), fixture.pick(&standard())];
    let deadline = Some(Instant::now() + Duration::from_millis(20));
    let (request, terms) = (standard(), QueueTerms { deadline, ..QueueTerms::default() });
    let error = runtime.0.block_on(fixture.state.pick_or_wait(&request, &terms)).err().unwrap();
    assert_eq!(error, PickError::TimedOut);
    assert_eq!(fixture.state.queue().unwrap().counts[0].1.outcomes[QueueOutcome::TimedOut as usize], 1);
}

#[test]
fn time_that_runs_out_after_endpoints_came_is_not_that_of_an_empty_pool() {
    let (fixture, runtime) = fixture(0, SETTINGS);
    let request = standard();
    let terms = QueueTerms { timeout: Some(Duration::from_millis(200)), ..QueueTerms::default() };
    let error = runtime.0.block_on(async {
        let mut wait = std::pin::pin!(fixture.state.pick_or_wait(&request, &terms));
        // It has its turn while the pool is empty, and then no more.
        assert!(std::future::poll_fn(|context| Poll::Ready(wait.as_mut().poll(context))).await.is_pending());
        let mut urgent = begin(&fixture, priority(1));
        fixture.state.update(queueing(SETTINGS), &endpoints(0..1));
        let _held = [fixture.pick(&standard()), fixture.pick(&standard())];
        assert!(urgent.is_woken() && urgent.poll().is_pending());
        wait.await.err().unwrap()
    });
    assert_eq!(error.dropped_reason(), "rejected-ttl-expired");
}

#[test]
fn a_closed_queue_refuses_all() {
    let (fixture, runtime) = fixture(1, SETTINGS);
    let _entered = runtime.0.enter();
    let _held = [fixture.pick(&standard()), fixture.pick(&standard())];
    let mut waiting = begin(&fixture, priority(0));
    fixture.state.close_queue();
    assert!(waiting.is_woken());
    assert!(matches!(waiting.poll(), Poll::Ready(Err(PickError::ShuttingDown))));
    let mut late = Waiting::new(&fixture.state, standard(), priority(0));
    assert!(matches!(late.poll(), Poll::Ready(Err(PickError::ShuttingDown))));
}

#[derive(Clone, Debug)]
enum Step {
    Come { priority: i32, flow: u8 },
    End(usize),
    Leave(usize),
    Scrape,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let come = (-1..2, 0u8..3).prop_map(|(priority, flow)| Step::Come { priority, flow });
    let step = prop_oneof![4 => come, 3 => (0usize..8).prop_map(Step::End), 1 => (0usize..8).prop_map(Step::Leave), 1 => Just(Step::Scrape)];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// Only those that are woken are polled. Whatever happens, no request waits while there is room, no endpoint has more requests than
    /// it has room for, and the end of all leaves nothing.
    #[test]
    fn no_wakeup_is_lost_and_no_room_given_twice(steps in steps()) {
        const FLOWS: [&str; 3] = ["a", "b", "c"];
        let (fixture, runtime) = fixture(2, SETTINGS);
        let _entered = runtime.0.enter();
        let (mut waiting, mut held) = (Vec::<Waiting<'_>>::new(), Vec::<Picked>::new());
        for step in steps {
            match step {
                Step::Come { priority, flow } => {
                    let terms = QueueTerms { priority, flow: Some(FLOWS[flow as usize]), ..QueueTerms::default() };
                    let mut request = Waiting::new(&fixture.state, standard(), terms);
                    match request.poll() {
                        Poll::Ready(picked) => held.push(picked.unwrap()),
                        Poll::Pending => waiting.push(request),
                    }
                }
                Step::End(place) if !held.is_empty() => drop(held.remove(place % held.len())),
                Step::Leave(place) if !waiting.is_empty() => drop(waiting.remove(place % waiting.len())),
                Step::Scrape => fixture.state.members().queue.note_room(),
                Step::End(_) | Step::Leave(_) => {}
            }
            while let Some(place) = waiting.iter().position(Waiting::is_woken) {
                if let Poll::Ready(picked) = waiting[place].poll() {
                    held.push(picked.unwrap());
                    drop(waiting.remove(place));
                }
            }
            prop_assert!(fixture.in_flight().iter().all(|count| *count <= 2));
            prop_assert!(waiting.is_empty() || held.len() == 4, "{} wait beside {} places", waiting.len(), 4 - held.len());
            prop_assert_eq!(fixture.state.members().queue.len(), waiting.len());
        }
        drop(waiting);
        drop(held);
        prop_assert_eq!(fixture.in_flight(), [0, 0]);
        prop_assert_eq!(fixture.state.members().queue.len(), 0);
    }
}

#[test]
fn threads_that_come_end_and_leave_at_once_all_get_their_turn() {
    let fixture = Fixture::new(RoutingStrategy::Load, 3);
    fixture.state.update(queueing(Queueing { max_requests: 100_000, ..SETTINGS }), &endpoints(0..3));
    let most = AtomicUsize::new(0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let state = Arc::clone(&fixture.state);
    let most = Arc::new(most);
    runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..2_000_i32 {
            let (state, most) = (Arc::clone(&state), Arc::clone(&most));
            tasks.spawn(async move {
                let terms = QueueTerms { priority: number % 3, ..QueueTerms::default() };
                let request = standard();
                let wait = state.pick_or_wait(&request, &terms);
                if number % 5 == 0 {
                    // Leaves at its second poll, at the latest.
                    tokio::select! { biased; picked = wait => drop(picked), () = tokio::task::yield_now() => {} }
                    return;
                }
                let picked = wait.await.unwrap();
                most.fetch_max(picked.endpoint().record().in_flight() as usize, Ordering::SeqCst);
                tokio::task::yield_now().await;
                drop(picked);
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap();
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 2);
    assert_eq!((fixture.in_flight(), fixture.state.members().queue.len()), (vec![0; 3], 0));
}
