//! One proxy's feed: the objects it has, and the next batch.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::{sync::watch, time};

use crate::Json;

use super::{
    PULSE_INTERVAL,
    reached::{Needed, State},
    wire,
};

/// The lines of a feed. Ends with the controller or the Gateway. However slow the reader, at most one batch waits for it: the
/// next batch comes from the newest objects.
pub(super) fn lines(needed: watch::Receiver<State>) -> impl Stream<Item = Bytes> {
    let session = Session { needed, sent: None };
    stream::unfold(session, |mut session| async move { session.next().await.map(|lines| (lines, session)) })
}

struct Session {
    needed: watch::Receiver<State>,
    /// Nothing yet at the beginning.
    sent: Option<Arc<Needed>>,
}

impl Session {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let state = self.needed.borrow_and_update().clone();
            match state {
                State::Gone => return None,
                State::Unknown => {}
                State::Needs(now) => {
                    let lines = batch(self.sent.as_deref(), &now);
                    self.sent = Some(now);
                    if !lines.is_empty() {
                        return Some(lines.into());
                    }
                }
            }
            match time::timeout(PULSE_INTERVAL, self.needed.changed()).await {
                Ok(changed) => changed.ok()?,
                Err(_) => {
                    let mut lines = Vec::new();
                    wire::write_pulse(&mut lines);
                    return Some(lines.into());
                }
            }
        }
    }
}

/// The differences to the objects sent before; empty if there are none. The first batch holds all objects, even if there are
/// none.
fn batch(sent: Option<&Needed>, now: &Needed) -> Vec<u8> {
    let mut lines = Vec::new();
    let nothing = Needed::default();
    for (key, _, now) in sent.unwrap_or(&nothing).differences(now, Json::eq) {
        match now {
            Some(json) => wire::write_upsert(&mut lines, json.expose()),
            None => wire::write_delete(&mut lines, key),
        }
    }
    if !lines.is_empty() || sent.is_none() {
        wire::write_synced(&mut lines);
    }
    lines
}

#[cfg(test)]
mod tests;
