//! One replay: a connection of its own, read by a task of its own, so that live batches go on being read.

use std::{net::SocketAddr, sync::Arc};

use pailou_kv_events::{Publication, ReplayMessage, ZmtpSocket, ask_for_replay};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::AbortHandle,
};

use super::{
    KvCache,
    connection::{Connection, ConnectionError},
};

/// Batches that wait to be applied; the publisher waits beyond.
const MAX_WAITING: usize = 16;

/// Something that a replay has come to.
pub(super) enum ReplayEvent {
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
            if let Err(error) = read(address, from, &sender).await {
                _ = sender.send(ReplayEvent::Failed(error)).await;
            }
        });
        Self { events, task: task.abort_handle() }
    }

    /// What comes next; `None` after the end.
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
        let event = match ReplayMessage::new(&connection.next_message().await?) {
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
