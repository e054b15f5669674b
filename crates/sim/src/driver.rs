//! The engine against the clock: one task steps it, requests hold tickets.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::engine::{Engine, Progress, Request, RequestId, Step, SubmitError};
use crate::kv_events::EventLog;
use crate::metrics::Recorder;
use crate::text::FinishReason;

/// Free steps taken before others get to run. Yielding costs a turn of the runtime's event loop, far more than a step.
const BURST: u32 = 32;

/// The engine, shared between the task that steps it and the requests that use it.
pub(crate) struct Driver {
    state: Mutex<State>,
    work: Notify,
    time_scale: f64,
}

pub(crate) struct State {
    pub(crate) engine: Engine,
    pub(crate) recorder: Recorder,
    /// When the engine was started.
    pub(crate) started: SystemTime,
    /// Requests in the engine; bounded by its own bounds.
    flights: HashMap<RequestId, Flight>,
    /// Takes the engine's KV events, if they are published.
    events: Option<Arc<EventLog>>,
}

struct Flight {
    seat: Arc<Mutex<Seat>>,
    submitted: Instant,
    last_token: Option<Instant>,
    finish: FinishReason,
}

/// Progress of a request, for its waiting handler.
#[derive(Default)]
struct Seat {
    generated: u32,
    cached_tokens: u32,
    finished: bool,
    /// Wake at every token, not only at the end.
    each_token: bool,
    waker: Option<Waker>,
}

/// How far a request has come, as its ticket tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) generated: u32,
    pub(crate) cached_tokens: u32,
    pub(crate) finished: bool,
}

/// A request in the engine. Dropping it before the end aborts the request there.
pub(crate) struct Ticket {
    id: RequestId,
    seat: Arc<Mutex<Seat>>,
    driver: Arc<Driver>,
}

impl Driver {
    pub(crate) fn new(mut engine: Engine, time_scale: f64, events: Option<Arc<EventLog>>) -> Self {
        if events.is_some() {
            engine.note_block_events();
        }
        let (recorder, started) = (Recorder::default(), SystemTime::now());
        let state = State { engine, recorder, started, flights: HashMap::new(), events };
        Driver { state: Mutex::new(state), work: Notify::new(), time_scale }
    }

    /// Steps the engine for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut due = Instant::now();
        let mut burst = 0u32;
        loop {
            let step = self.state.lock().engine.begin_step();
            let Some(step) = step else {
                self.work.notified().await;
                due = Instant::now();
                continue;
            };
            let pause = self.scaled(step.duration);
            if pause.is_zero() {
                burst = burst.wrapping_add(1);
                if burst.is_multiple_of(BURST) {
                    tokio::task::yield_now().await;
                }
            } else {
                // Steps follow one another on a schedule, so that coarse timers do not add up.
                due = due.max(Instant::now() - pause) + pause;
                tokio::time::sleep_until(due).await;
            }
            self.finish(step);
        }
    }

    /// Puts a request into the engine; `finish` is how it will end, for the metrics.
    pub(crate) fn submit(
        self: &Arc<Self>,
        request: Request,
        finish: FinishReason,
        each_token: bool,
    ) -> Result<Ticket, SubmitError> {
        let seat = Arc::new(Mutex::new(Seat { each_token, ..Seat::default() }));
        let id = {
            let mut state = self.state.lock();
            let id = state.engine.submit(request)?;
            let flight = Flight { seat: seat.clone(), submitted: Instant::now(), last_token: None, finish };
            state.flights.insert(id, flight);
            id
        };
        self.work.notify_one();
        Ok(Ticket { id, seat, driver: self.clone() })
    }

    /// Lets pass what a request costs before the scheduler sees it. A client that leaves meanwhile counts as an abort.
    pub(crate) async fn admit(&self, cost: Duration) {
        let delay = self.scaled(cost);
        if delay.is_zero() {
            return;
        }
        let mut arrival = Arrival { driver: self, admitted: false };
        tokio::time::sleep(delay).await;
        arrival.admitted = true;
    }

    /// Engine time as wall-clock time.
    fn scaled(&self, duration: Duration) -> Duration {
        Duration::try_from_secs_f64(duration.as_secs_f64() * self.time_scale).unwrap_or(Duration::ZERO)
    }

    /// Looks at the engine and its records together.
    pub(crate) fn observe<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock())
    }

    /// Empties the engine's cache. Changes nothing and says false while requests hold blocks.
    pub(crate) fn reset_cache(&self) -> bool {
        let mut state = self.state.lock();
        let is_reset = state.engine.reset_cache();
        state.publish();
        is_reset
    }

    fn finish(&self, step: Step) {
        let mut wakers = Vec::new();
        {
            let mut state = self.state.lock();
            let progress = state.engine.end_step(step);
            state.publish();
            let now = Instant::now();
            for event in progress {
                wakers.extend(state.deliver(event, now));
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    fn abort(&self, id: RequestId) {
        let mut state = self.state.lock();
        if state.engine.abort(id) {
            state.flights.remove(&id);
            state.recorder.aborted();
        }
    }
}

/// A request on its way to the engine.
struct Arrival<'a> {
    driver: &'a Driver,
    admitted: bool,
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        if !self.admitted {
            self.driver.state.lock().recorder.aborted();
        }
    }
}

impl State {
    /// Publishes what has changed in the cache, before any client can know that it has.
    fn publish(&mut self) {
        let Some(log) = &self.events else { return };
        let events = self.engine.take_block_events();
        if !events.is_empty() {
            log.append(&events);
        }
    }

    fn deliver(&mut self, event: Progress, now: Instant) -> Option<Waker> {
        let State { flights, recorder, .. } = self;
        let flight = flights.get_mut(&event.id)?;
        match flight.last_token.replace(now) {
            None => recorder.first_token(now - flight.submitted),
            Some(before) => recorder.next_token(now - before),
        }
        let waker = flight.seat.lock().update(event);
        if event.finished {
            recorder.finished(flight.finish, now - flight.submitted);
            flights.remove(&event.id);
        }
        waker
    }
}

impl Seat {
    fn update(&mut self, event: Progress) -> Option<Waker> {
        self.generated = event.generated;
        self.cached_tokens = event.cached_tokens;
        self.finished = event.finished;
        if self.each_token || self.finished { self.waker.take() } else { None }
    }
}

impl Ticket {
    /// Waits until there is more than `seen`.
    pub(crate) fn poll_progress(&self, cx: &mut Context<'_>, seen: Seen) -> Poll<Seen> {
        let mut seat = self.seat.lock();
        let now = Seen { generated: seat.generated, cached_tokens: seat.cached_tokens, finished: seat.finished };
        if now != seen {
            return Poll::Ready(now);
        }
        seat.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits for the end.
    pub(crate) async fn finished(&self) -> Seen {
        std::future::poll_fn(|cx| {
            let mut seat = self.seat.lock();
            if !seat.finished {
                seat.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let Seat { generated, cached_tokens, finished, .. } = *seat;
            Poll::Ready(Seen { generated, cached_tokens, finished })
        })
        .await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let finished = self.seat.lock().finished;
        if !finished {
            self.driver.abort(self.id);
        }
    }
}
