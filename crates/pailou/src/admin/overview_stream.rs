//! `/overview` and `/overview/stream`: a process as a whole, once or as it goes.
//!
//! All viewers share one sampler. It starts with the first of them and ends after the last, so that a process that nobody looks at does
//! nothing for it. What was sampled of late is kept, for the next viewer's charts.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{body::Bytes, http::request::Parts};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, watch},
    time::{self, MissedTickBehavior},
};

use super::state::{AdminState, Component};

/// Viewers at the same time.
pub(super) const MAX_VIEWERS: usize = 16;
/// Time between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Samples older than this are of no use to a viewer.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Bytes that a viewer gets at once: what was kept comes in pieces.
const MAX_BATCH: usize = 32 << 10;
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
    json: Bytes,
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

    /// Whether anybody looks. If not, the sampler is to end.
    fn goes_on(&self) -> bool {
        let mut kept = self.kept.lock();
        kept.is_sampling = kept.viewers > 0;
        kept.is_sampling
    }

    fn push(&self, json: Bytes, now: Instant) {
        let mut kept = self.kept.lock();
        let number = *self.newest.borrow() + 1;
        kept.bytes += json.len();
        kept.samples.push_back(Sample { number, taken: now, json });
        kept.forget(now);
        drop(kept);
        self.newest.send_replace(number);
    }

    /// Events of the first samples after that number, which moves on; none if there are none.
    fn after(&self, seen: &mut u64, now: Instant) -> String {
        let mut kept = self.kept.lock();
        kept.forget(now);
        let mut text = String::new();
        let before = *seen;
        for sample in kept.samples.iter().filter(|sample| sample.number > before) {
            if !text.is_empty() && text.len() + sample.json.len() > MAX_BATCH {
                return text;
            }
            *seen = sample.number;
            let _ = write!(text, "id: {}\nevent: sample\ndata: ", sample.number);
            text.push_str(&String::from_utf8_lossy(&sample.json));
            text.push_str("\n\n");
        }
        if text.is_empty() {
            // All of them have been let go of.
            *seen = *self.newest.borrow();
        }
        text
    }
}

impl Kept {
    /// Lets go of what is too old or too much.
    fn forget(&mut self, now: Instant) {
        while let Some(first) = self.samples.front() {
            let is_old = now.saturating_duration_since(first.taken) > MAX_AGE;
            if !is_old && self.bytes <= MAX_KEPT {
                return;
            }
            self.bytes -= first.json.len();
            self.samples.pop_front();
        }
    }
}

/// Events for one more viewer, after the one that `Last-Event-ID` names; `None` if there are viewers enough.
pub(super) fn stream<C: Component>(state: &Arc<AdminState<C>>, head: &Parts) -> Option<mpsc::Receiver<Bytes>> {
    let (viewer, starts) = state.overviews().enter()?;
    if starts {
        tokio::spawn(sample(state.clone()));
    }
    let newest = viewer.0.newest.subscribe();
    let last: u64 = head.headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok()).unwrap_or(0);
    // A number that was never given is of a former process.
    let seen = if last > *newest.borrow() { 0 } else { last };
    let (send, receive) = mpsc::channel(1);
    tokio::spawn(follow(viewer, newest, seen, send));
    Some(receive)
}

/// Takes samples for as long as anybody looks.
async fn sample<C: Component>(state: Arc<AdminState<C>>) {
    let overviews = state.overviews();
    let mut ticks = time::interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !overviews.goes_on() {
            return;
        }
        overviews.push(state.overview_line().into(), Instant::now());
    }
}

/// Sends samples until the viewer has gone. A slow one is waited for, and loses what was let go of meanwhile.
async fn follow(viewer: Viewer, mut newest: watch::Receiver<u64>, mut seen: u64, send: mpsc::Sender<Bytes>) {
    loop {
        let text = viewer.0.after(&mut seen, Instant::now());
        if !text.is_empty() && send.send(text.into()).await.is_err() {
            return;
        }
        tokio::select! {
            changed = newest.wait_for(|newest| *newest > seen) => if changed.is_err() { return },
            () = send.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_bounded_in_age_and_bytes() {
        let overviews = Overviews::default();
        let start = Instant::now();
        overviews.push("{\"first\":1}".into(), start);
        overviews.push("{\"second\":1}".into(), start + Duration::from_secs(299));
        let mut seen = 0;
        let text = overviews.after(&mut seen, start + Duration::from_secs(300));
        assert_eq!(text, "id: 1\nevent: sample\ndata: {\"first\":1}\n\nid: 2\nevent: sample\ndata: {\"second\":1}\n\n");
        assert_eq!((seen, overviews.after(&mut seen, start)), (2, String::new()));
        let text = overviews.after(&mut 0, start + Duration::from_secs(301));
        assert!(text.starts_with("id: 2\n"), "{text}");
        for _ in 0..100 {
            overviews.push(vec![b' '; 100_000].into(), start);
        }
        let (mut seen, mut batches) = (0, 0);
        while !overviews.after(&mut seen, start).is_empty() {
            batches += 1;
        }
        assert_eq!((seen, batches), (102, MAX_KEPT / 100_000), "each is larger than a batch");
        let (mut seen, long_after) = (0, start + Duration::from_secs(1000));
        assert_eq!((overviews.after(&mut seen, long_after), seen), (String::new(), 102), "nobody waits for what is gone");
        overviews.push("{}".into(), long_after);
        assert_eq!(overviews.after(&mut seen, long_after).lines().next(), Some("id: 103"));
        let kept = overviews.kept.lock();
        assert_eq!((kept.bytes, kept.samples.len()), (2, 1));
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
