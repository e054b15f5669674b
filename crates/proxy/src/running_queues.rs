//! Queues whose tasks still run, so that the end of the process waits for what they hold.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time};

use crate::export_queue::{DropReason, ExportQueue, OpenQueue};

/// Queues, and the ends of their tasks.
#[derive(Default)]
pub(crate) struct RunningQueues(Mutex<Vec<Running>>);

struct Running {
    queue: Arc<ExportQueue>,
    ended: watch::Receiver<()>,
}

impl RunningQueues {
    /// Starts a queue; `start` starts its task, and gives what hears of its end.
    pub(crate) fn run(&self, queue: ExportQueue, start: impl Fn(Arc<ExportQueue>) -> watch::Receiver<()>) -> OpenQueue {
        let queue = Arc::new(queue);
        let ended = start(Arc::clone(&queue));
        self.0.lock().push(Running { queue: Arc::clone(&queue), ended });
        OpenQueue(queue)
    }

    /// Forgets those whose tasks have ended.
    pub(crate) fn forget_ended(&self) {
        self.0.lock().retain(|running| running.ended.has_changed().is_ok());
    }

    /// Sends what waits, within a time; what is left then is dropped.
    pub(crate) async fn finish(&self, within: Duration) {
        let running = std::mem::take(&mut *self.0.lock());
        running.iter().for_each(|it| it.queue.buffer.close());
        let all = async {
            for running in &running {
                // An error is the task's end.
                while running.ended.clone().changed().await.is_ok() {}
            }
        };
        if time::timeout(within, all).await.is_err() {
            for Running { queue, .. } in &running {
                let left = queue.buffer.unsent();
                queue.stats.dropped(DropReason::Shutdown, left);
                if left > 0 {
                    tracing::warn!(waiting = left, "the gateway ends before the collector has all {}", queue.envelope.items());
                }
            }
        }
    }
}
