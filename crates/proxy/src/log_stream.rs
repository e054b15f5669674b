//! One lasting stream of access log entries to a collector, which answers at its end alone.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::timeout;

use crate::{
    cluster::ClusterState,
    collector::{CollectorClient, ExportFailure},
    export_queue::ExportQueue,
    log_frames::{LogFrameSender, log_frames},
};

/// Time in which a collector that wants no entries says so after the first message of a stream; later messages do not wait for it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for what is written to get to the collector, and for its answer, at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A stream under way.
pub(crate) struct LogStream {
    queue: Arc<ExportQueue>,
    frames: LogFrameSender,
    end: Pin<Box<dyn Future<Output = Result<(), ExportFailure>> + Send>>,
    /// No message was sent yet.
    is_new: bool,
}

/// Result of a message that was sent.
pub(crate) enum LogOutcome {
    /// The connection has taken it; the stream goes on.
    Taken(LogStream),
    /// The connection has taken it, and the collector has ended the stream in order.
    Last,
    /// The stream had ended since the message before, be it with an error: another one is to take this.
    Stale(Option<ExportFailure>),
}

impl LogStream {
    /// A stream, which is opened when something is sent.
    pub(crate) fn new(client: &Arc<CollectorClient>, queue: &Arc<ExportQueue>, backend: Option<Arc<ClusterState>>) -> Self {
        let (sender, frames) = log_frames();
        let (client, of_stream) = (Arc::clone(client), Arc::clone(queue));
        let end = Box::pin(async move { client.stream(&of_stream.collector, backend.as_ref(), &frames).await });
        Self { queue: Arc::clone(queue), frames: sender, end, is_new: true }
    }

    /// Sends entries as one message.
    ///
    /// # Errors
    /// The connection took none within the collector's timeout, or the collector wants none. The stream is over.
    pub(crate) async fn send(mut self, items: Bytes) -> Result<LogOutcome, ExportFailure> {
        let is_first = std::mem::replace(&mut self.is_new, false);
        let mut is_taken = self.frames.send(self.queue.envelope.message(items, is_first));
        let within = self.queue.collector.timeout;
        let taken = async {
            tokio::select! {
                biased;
                Ok(()) = &mut is_taken => None,
                end = &mut self.end => Some(end),
            }
        };
        let end = match timeout(within, taken).await {
            Err(_) => return Err(ExportFailure::Late(within)),
            Ok(end) => end,
        };
        // Both may be there at once, and a message that was taken is not to be sent again.
        match end {
            Some(end) if is_taken.try_recv().is_ok() => return if is_first { end } else { Ok(()) }.map(|()| LogOutcome::Last),
            Some(end) if is_first => return end.and(Err(ExportFailure::StreamEnded)),
            Some(end) => return Ok(LogOutcome::Stale(end.err())),
            None => {}
        }
        if !is_first {
            return Ok(LogOutcome::Taken(self));
        }
        match timeout(REFUSAL_TIMEOUT, &mut self.end).await {
            Ok(end) => end.map(|()| LogOutcome::Last),
            Err(_) => Ok(LogOutcome::Taken(self)),
        }
    }

    /// Ends the stream. Its answer says nothing any more: most servers in Go give the end itself back as an error.
    pub(crate) async fn close(self) {
        let Self { frames, end, .. } = self;
        drop(frames);
        drop(timeout(CLOSE_TIMEOUT, end).await);
    }
}
