//! `/overview` and `/overview/stream`: a process as a whole, once or as it goes.
//!
//! All viewers share one sampler. It starts with the first of them and ends after the last, so that a process that nobody looks at does
//! nothing for it. What was sampled of late is kept, for the next viewer's charts.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{body::Bytes, http::request::Parts};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::{self, MissedTickBehavior},
};

use super::{
    STREAM_LIMIT,
    state::{AdminState, Component, MAX_CHOICES},
};
use crate::gather::Selection;

/// Viewers at the same time.
pub(super) const MAX_VIEWERS: usize = 16;
/// Time between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Samples older than this are of no use to a viewer.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Bytes of all samples that are kept.
const MAX_KEPT: usize = 1 << 20;

/// Samples kept, and those who look at them.
pub(crate) struct Overviews {
    kept: Mutex<Kept>,
    /// Number of the newest sample.
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Kept {
    samples: VecDeque<Sample>,
    bytes: usize,
    viewers: usize,
    is_sampling: bool,
}

struct Sample {
    number: u64,
    taken: Instant,
    /// Framed for the stream, and shared by all viewers: one that does not read holds no copy.
    event: Bytes,
}

/// A place among the viewers.
struct Viewer(Arc<Overviews>);

impl Drop for Viewer {
    fn drop(&mut self) {
        self.0.kept.lock().viewers -= 1;
    }
}

impl Default for Overviews {
    fn default() -> Self {
        Self { kept: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl Overviews {
    /// A place, if there is one, and whether a sampler is to be started.
    fn enter(self: &Arc<Self>) -> Option<(Viewer, bool)> {
        let mut kept = self.kept.lock();
        if kept.viewers >= MAX_VIEWERS {
            return None;
        }
        kept.viewers += 1;
        let starts = !std::mem::replace(&mut kept.is_sampling, true);
        Some((Viewer(self.clone()), starts))
    }

    /// Whether anybody looks, or has just done so.
    pub(super) fn is_used(&self) -> bool {
        let kept = self.kept.lock();
        kept.viewers > 0 || kept.is_sampling
    }

    /// Whether anybody looks. If not, the sampler is to end.
    fn goes_on(&self) -> bool {
        let mut kept = self.kept.lock();
        kept.is_sampling = kept.viewers > 0;
        kept.is_sampling
    }

    fn push(&self, json: &str, now: Instant) {
        let mut kept = self.kept.lock();
        let number = *self.newest.borrow() + 1;
        let event = Bytes::from(format!("id: {number}\nevent: sample\ndata: {json}\n\n"));
        kept.bytes += event.len();
        kept.samples.push_back(Sample { number, taken: now, event });
        kept.forget(now);
        // Under the lock, so that a viewer sees no sample beyond the newest.
        self.newest.send_replace(number);
    }

    /// The event of the first sample after that number, which moves on; `None` if there is none.
    fn after(&self, seen: &mut u64, now: Instant) -> Option<Bytes> {
        let mut kept = self.kept.lock();
        kept.forget(now);
        let first = kept.samples.partition_point(|sample| sample.number <= *seen);
        let sample = kept.samples.get(first);
        // Without one, all of them have been let go of.
        *seen = sample.map_or(*self.newest.borrow(), |sample| sample.number);
        sample.map(|sample| sample.event.clone())
    }
}

impl Kept {
    /// Lets go of what is too old or too much. The last one is never too much.
    fn forget(&mut self, now: Instant) {
        while let Some(first) = self.samples.front() {
            let is_old = now.saturating_duration_since(first.taken) > MAX_AGE;
            if !is_old && (self.bytes <= MAX_KEPT || self.samples.len() == 1) {
                return;
            }
            self.bytes -= first.event.len();
            self.samples.pop_front();
        }
    }
}

/// Events for one more viewer, after the one that `Last-Event-ID` names.
///
/// # Errors
/// There are viewers or choices enough.
pub(super) fn stream<C: Component>(
    state: &Arc<AdminState<C>>,
    head: &Parts,
    selection: &Selection,
) -> Result<mpsc::Receiver<Bytes>, String> {
    let choices = || format!("{MAX_CHOICES} choices of Gateways and proxies are looked at already");
    let overviews = state.overviews(selection).ok_or_else(choices)?;
    let (viewer, starts) = overviews.enter().ok_or_else(|| format!("{MAX_VIEWERS} look at the overview already"))?;
    if starts {
        tokio::spawn(sample(state.clone(), viewer.0.clone(), selection.clone()));
    }
    let newest = viewer.0.newest.subscribe();
    let last: u64 = head.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    // A number that was never given is of a former process.
    let seen = if last > *newest.borrow() { 0 } else { last };
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(follow(viewer, newest, seen, send, STREAM_LIMIT));
    Ok(receive)
}

/// Takes samples for as long as anybody looks.
async fn sample<C: Component>(state: Arc<AdminState<C>>, overviews: Arc<Overviews>, selection: Selection) {
    let mut ticks = time::interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !overviews.goes_on() {
            return;
        }
        overviews.push(&state.overview_line(&selection).await, Instant::now());
    }
}

/// Sends samples until the viewer has gone, or its time is over. A slow one is waited for, and loses what was let go of meanwhile.
async fn follow(viewer: Viewer, mut newest: watch::Receiver<u64>, mut seen: u64, send: mpsc::Sender<Bytes>, limit: Duration) {
    let following = async {
        loop {
            while let Some(event) = viewer.0.after(&mut seen, Instant::now()) {
                if send.send(event).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = newest.wait_for(|newest| *newest > seen) => if changed.is_err() { return },
                () = send.closed() => return,
            }
        }
    };
    let _ = time::timeout(limit, following).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_bounded_in_age_and_bytes() {
        let overviews = Overviews::default();
        let start = Instant::now();
        overviews.push("{\"first\":1}", start);
        overviews.push("{\"second\":1}", start + Duration::from_secs(299));
        let mut seen = 0;
        let event = overviews.after(&mut seen, start + Duration::from_secs(300));
        assert_eq!(event.as_deref(), Some(&b"id: 1\nevent: sample\ndata: {\"first\":1}\n\n"[..]));
        let event = overviews.after(&mut seen, start + Duration::from_secs(300));
        assert_eq!(event.as_deref(), Some(&b"id: 2\nevent: sample\ndata: {\"second\":1}\n\n"[..]));
        assert_eq!((overviews.after(&mut seen, start), seen), (None, 2));
        let event = overviews.after(&mut 0, start + Duration::from_secs(301)).unwrap();
        assert!(event.starts_with(b"id: 2\n"), "{event:?}");
        for _ in 0..100 {
            overviews.push(&" ".repeat(100_000), start);
        }
        let (mut seen, mut events) = (0, 0);
        while overviews.after(&mut seen, start).is_some() {
            events += 1;
        }
        assert_eq!((seen, events), (102, MAX_KEPT / 100_000));
        let (mut seen, long_after) = (0, start + Duration::from_secs(1000));
        assert_eq!((overviews.after(&mut seen, long_after), seen), (None, 102), "nobody waits for what is gone");
        overviews.push("{}", long_after);
        let event = overviews.after(&mut seen, long_after).unwrap();
        assert!(event.starts_with(b"id: 103\n"));
        let kept = overviews.kept.lock();
        assert_eq!((kept.bytes, kept.samples.len()), (event.len(), 1));
    }

    #[test]
    fn a_sample_larger_than_all_that_is_kept_is_sent_all_the_same() {
        let (overviews, now, mut seen) = (Overviews::default(), Instant::now(), 0);
        overviews.push("{}", now);
        overviews.push(&" ".repeat(2 * MAX_KEPT), now);
        assert!(overviews.after(&mut seen, now).is_some_and(|event| event.len() > 2 * MAX_KEPT));
        assert_eq!((seen, overviews.after(&mut seen, now)), (2, None));
        overviews.push("{}", now);
        assert_eq!(overviews.kept.lock().samples.len(), 1);
    }

    #[test]
    fn viewers_that_do_not_read_share_what_is_kept() {
        let (overviews, now) = (Overviews::default(), Instant::now());
        overviews.push("{}", now);
        let [one, other] = [0, 0].map(|mut seen| overviews.after(&mut seen, now).unwrap());
        assert_eq!(one.as_ptr(), other.as_ptr());
    }

    #[tokio::test]
    async fn a_stream_ends_by_itself_before_its_connection_does() {
        let overviews = Arc::new(Overviews::default());
        let (viewer, _) = overviews.enter().unwrap();
        overviews.push("{}", Instant::now());
        let (send, mut events) = mpsc::channel(1);
        tokio::spawn(follow(viewer, overviews.newest.subscribe(), 0, send, Duration::ZERO));
        assert!(events.recv().await.is_some() && events.recv().await.is_none());
    }

    #[test]
    fn the_sampler_starts_with_the_first_viewer_and_ends_after_the_last() {
        let overviews = Arc::new(Overviews::default());
        let (first, starts) = overviews.enter().unwrap();
        assert!(starts && overviews.goes_on());
        let others: Vec<_> = (1..MAX_VIEWERS).map(|_| overviews.enter().unwrap()).collect();
        assert!(others.iter().all(|(_, starts)| !starts) && overviews.enter().is_none());
        drop(first);
        drop(others);
        let (again, starts) = overviews.enter().unwrap();
        assert!(!starts, "the sampler has not looked yet, and goes on");
        drop(again);
        assert!(!overviews.goes_on());
        assert!(overviews.enter().unwrap().1);
    }
}
