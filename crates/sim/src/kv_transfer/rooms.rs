//! Rooms in which two requests with one prompt meet, by SGLang's and Mooncake's protocol: either may come first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::exchange::lost;
use crate::app::App;
use crate::reply::ApiError;

/// Rooms at the same time.
const MAX_ROOMS: usize = 65_536;

/// All rooms of an engine that prefills.
#[derive(Clone, Default)]
pub(super) struct Rooms(Arc<Mutex<HashMap<u64, watch::Sender<State>>>>);

/// Progress of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is not read yet, or its request has not come.
    Expected,
    /// It is there, with so many tokens.
    Ready(u32),
    Taken,
    /// Its request has left.
    Abandoned,
}

/// The room of a request that prefills; others that wait there are sent away when it drops.
pub(crate) struct Room {
    number: u64,
    state: watch::Sender<State>,
    rooms: Rooms,
}

impl Rooms {
    fn room(&self, number: u64) -> Result<watch::Sender<State>, ApiError> {
        let mut rooms = self.0.lock();
        if rooms.len() >= MAX_ROOMS && !rooms.contains_key(&number) {
            return Err(lost("too many rooms are open"));
        }
        Ok(rooms.entry(number).or_insert_with(|| watch::Sender::new(State::Expected)).clone())
    }

    pub(super) fn open(&self, number: u64) -> Result<Room, ApiError> {
        Ok(Room { number, state: self.room(number)?, rooms: self.clone() })
    }

    /// Rooms whose prompt is there.
    pub(super) fn ready(&self) -> usize {
        self.0.lock().values().filter(|state| matches!(*state.borrow(), State::Ready(_))).count()
    }

    /// Waits for a room's prompt; the engine that asks ends the wait by leaving.
    pub(super) async fn join(&self, number: u64) -> Result<u32, ApiError> {
        let state = self.room(number)?;
        let visit = Visit { number, rooms: self, state: &state };
        let mut changes = state.subscribe();
        let reached = changes.wait_for(|state| *state != State::Expected).await.map(|state| *state);
        let Ok(State::Ready(tokens)) = reached else { return Err(lost("the prefill was given up")) };
        state.send_replace(State::Taken);
        drop(visit);
        Ok(tokens)
    }
}

/// A visit to a room; at its end the room goes if nothing was there.
struct Visit<'r> {
    number: u64,
    rooms: &'r Rooms,
    state: &'r watch::Sender<State>,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // The map's and the visitor's are all there are where no request came.
        let mut rooms = self.rooms.0.lock();
        if self.state.sender_count() <= 2 {
            rooms.remove(&self.number);
        }
    }
}

impl Room {
    /// Offers the prompt for a while, without waiting.
    pub(super) fn leave(self, app: &Arc<App>, tokens: u32, patience: Duration) {
        let app = Arc::clone(app);
        tokio::spawn(async move {
            if self.hand_over(tokens, patience).await.is_ok() {
                app.transfers.sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Offers the prompt and waits until another engine has it.
    pub(super) async fn hand_over(self, tokens: u32, patience: Duration) -> Result<(), ApiError> {
        self.state.send_replace(State::Ready(tokens));
        let mut changes = self.state.subscribe();
        let taken = timeout(patience, changes.wait_for(|state| *state == State::Taken)).await;
        if taken.is_ok_and(|taken| taken.is_ok()) { Ok(()) } else { Err(lost("no engine came for the prompt")) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.state.send_if_modified(|state| {
            let is_left = *state != State::Taken;
            if is_left {
                *state = State::Abandoned;
            }
            is_left
        });
        self.rooms.0.lock().remove(&self.number);
    }
}
