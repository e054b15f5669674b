//! Requests that wait in our picker's queue, on the simulation's clock.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, VecDeque},
    future::{Future, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use pailou_picker::{PickError, Picked, QueueClock};
use parking_lot::Mutex;

/// A request's wait.
type Wait = Pin<Box<dyn Future<Output = Result<Picked, PickError>>>>;

/// All that wait. They are looked at in the order in which they were woken.
#[derive(Default)]
pub(super) struct WaitingRequests {
    waits: HashMap<usize, Wait>,
    woken: Arc<Mutex<VecDeque<usize>>>,
}

impl WaitingRequests {
    /// Looks at a request for the first time; `None`: it waits.
    pub(super) fn begin(
        &mut self,
        id: usize,
        wait: impl Future<Output = Result<Picked, PickError>> + 'static,
    ) -> Option<Result<Picked, PickError>> {
        self.waits.insert(id, Box::pin(wait));
        self.poll(id)
    }

    pub(super) fn has(&self, id: usize) -> bool {
        self.waits.contains_key(&id)
    }

    /// The next whose wait has ended.
    pub(super) fn next(&mut self) -> Option<(usize, Result<Picked, PickError>)> {
        loop {
            let id = self.woken.lock().pop_front()?;
            if let Some(result) = self.poll(id) {
                return Some((id, result));
            }
        }
    }

    fn poll(&mut self, id: usize) -> Option<Result<Picked, PickError>> {
        let waker = Waker::from(Arc::new(Woken { id, woken: Arc::clone(&self.woken) }));
        let Poll::Ready(result) = self.waits.get_mut(&id)?.as_mut().poll(&mut Context::from_waker(&waker)) else { return None };
        self.waits.remove(&id);
        Some(result)
    }
}

struct Woken {
    id: usize,
    woken: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.woken.lock().push_back(self.id);
    }
}

/// The simulation's clock. It wakes those that sleep when it is set, as late as the next event.
#[derive(Clone)]
pub(super) struct SimulationClock(Rc<State>);

struct State {
    epoch: Instant,
    now: Cell<Duration>,
    /// By the time, and a number.
    sleepers: RefCell<BTreeMap<(Instant, u64), Waker>>,
    next: Cell<u64>,
}

impl SimulationClock {
    pub(super) fn new(epoch: Instant) -> Self {
        Self(Rc::new(State { epoch, now: Cell::default(), sleepers: RefCell::default(), next: Cell::default() }))
    }

    pub(super) fn set(&self, now: Duration) {
        self.0.now.set(now);
        let mut sleepers = self.0.sleepers.borrow_mut();
        while let Some(first) = sleepers.first_entry().filter(|first| first.key().0 <= self.now()) {
            first.remove().wake();
        }
    }
}

impl QueueClock for SimulationClock {
    fn now(&self) -> Instant {
        self.0.epoch + self.0.now.get()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        let number = self.0.next.get();
        self.0.next.set(number + 1);
        let sleeper = Sleeper { clock: self.clone(), key: (at, number) };
        poll_fn(move |context| sleeper.poll(context))
    }
}

/// A sleep, which leaves nothing behind where it ends early.
struct Sleeper {
    clock: SimulationClock,
    key: (Instant, u64),
}

impl Sleeper {
    fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.clock.now() >= self.key.0 {
            return Poll::Ready(());
        }
        self.clock.0.sleepers.borrow_mut().insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.clock.0.sleepers.borrow_mut().remove(&self.key);
    }
}
