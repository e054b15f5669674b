//! One replay: a connection of its own, read by a task of its own, so that live batches go on being read.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pailou_kv_events::{Publication, ReplayMessage, ZmtpSocket, ask_for_replay};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::AbortHandle,
    time::timeout,
};

use super::{
    KvCache,
    connection::{Connection, ConnectionError},
};

/// Batches that wait to be applied, of at most 16 MiB each; the publisher waits beyond.
const MAX_WAITING: usize = 1;
/// Silence after which a replay has failed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Something that a replay has come to.
pub(super) enum ReplayEvent {
    /// Few enough others are under way.
    Begun,
    Batch(Publication),
    End,
    Failed(ConnectionError),
}

/// A replay under way. It is abandoned when this is dropped.
pub(super) struct Replay {
    events: Receiver<ReplayEvent>,
    task: AbortHandle,
}

impl Replay {
    /// Asks for all batches from a number on, once few enough others are under way.
    pub(super) fn start(cache: &Arc<KvCache>, address: SocketAddr, from: u64) -> Self {
        let (sender, events) = channel(MAX_WAITING);
        let cache = Arc::clone(cache);
        let task = tokio::spawn(async move {
            let Ok(_permit) = cache.replays.acquire().await else { return };
            _ = sender.send(ReplayEvent::Begun).await;
            if let Err(error) = read(address, from, &sender).await {
                _ = sender.send(ReplayEvent::Failed(error)).await;
            }
        });
        Self { events, task: task.abort_handle() }
    }

    /// The next message; `None` after the end.
    pub(super) async fn next(&mut self) -> Option<ReplayEvent> {
        self.events.recv().await
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(address: SocketAddr, from: u64, sender: &Sender<ReplayEvent>) -> Result<(), ConnectionError> {
    let mut connection = Connection::open(address, ZmtpSocket::Dealer, &ask_for_replay(from)).await?;
    loop {
        let message = timeout(IDLE_TIMEOUT, connection.next_message()).await.unwrap_or(Err(ConnectionError::Idle))?;
        let event = match ReplayMessage::new(&message) {
            Some(ReplayMessage::Batch(batch)) => ReplayEvent::Batch(batch),
            Some(ReplayMessage::End) => {
                _ = sender.send(ReplayEvent::End).await;
                return Ok(());
            }
            None => continue,
        };
        if sender.send(event).await.is_err() {
            return Ok(());
        }
    }
}
