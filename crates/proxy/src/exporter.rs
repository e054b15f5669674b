//! The task that sends what a queue holds: batch after batch, again where the collector wants it, and never for anybody who waits.

use std::{
    io,
    mem::{Discriminant, discriminant},
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use compression_codecs::{EncodeV2, GzipEncoder};
use compression_core::{
    Level,
    util::{PartialBuffer, WriteBuffer},
};
use pailou_ai::Pieces;
use pailou_snapshot::{CollectorTarget, OtlpProtocol};
use tokio::{
    runtime::Handle,
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    cluster::ClusterState,
    collector::{CollectorClient, ExportFailure, OtlpMessage},
    context::Context,
    dns::Dns,
    export_buffer::ExportBatch,
    export_queue::{DropReason, ExportQueue},
    log_stream::{LogOutcome, LogStream},
    subrequest,
};

/// Pauses before a batch is sent again, the first and the longest; chance shortens each by up to a half.
const RETRY_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Longest pause that a collector may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Time for which further ends of streams are not reported.
const END_INTERVAL: Duration = Duration::from_secs(60);
/// Output of the compression made at once, in bytes.
const OUTPUT: usize = 16 << 10;

/// The task of one queue.
pub(crate) struct Exporter {
    queue: Arc<ExportQueue>,
    context: Weak<Context>,
    client: Arc<CollectorClient>,
    /// The stream whose messages are batches, of a collector that takes one.
    stream: Option<LogStream>,
    /// Dropped at the end of the task, which the process's end waits for.
    _running: watch::Sender<()>,
    /// Kind of the failure that was reported last, until a batch is taken.
    failing: Option<(Discriminant<ExportFailure>, bool)>,
    /// When the end of a stream was reported last.
    reported_end: Option<Instant>,
    /// When the collector wants the next request, where it said so.
    not_before: Option<Instant>,
}

impl Exporter {
    /// Starts the task of a queue; the receiver hears of its end.
    pub(crate) fn start(queue: Arc<ExportQueue>, context: &Arc<Context>, dns: Dns, tasks: &Handle) -> watch::Receiver<()> {
        let client = Arc::new(CollectorClient::new(&queue.collector, queue.envelope.clone(), dns));
        let (running, ended) = watch::channel(());
        let context = Arc::downgrade(context);
        let (stream, failing, reported_end, not_before) = Default::default();
        let exporter = Self { queue, context, client, stream, _running: running, failing, reported_end, not_before };
        tasks.spawn(exporter.run());
        ended
    }

    /// Sends batches until the buffer is closed and empty.
    async fn run(mut self) {
        while let Some(batch) = self.next().await {
            let count = batch.count;
            match self.export(batch.items).await {
                Ok(rejected) => {
                    self.queue.stats.exported(count.saturating_sub(rejected));
                    self.queue.stats.dropped(DropReason::Refused, rejected.min(count));
                    if self.failing.take().is_some() {
                        tracing::info!(collector = %self.name(), "the collector takes {} again", self.queue.envelope.items());
                    }
                }
                Err(failure) => {
                    let reason = if failure.is_retryable() { DropReason::Unreachable } else { DropReason::Refused };
                    self.queue.stats.dropped(reason, count);
                }
            }
            self.queue.buffer.settle();
        }
        if let Some(stream) = self.stream.take() {
            stream.close().await;
        }
    }

    /// The next batch, not before the collector wants one; until then items wait in the buffer.
    async fn next(&mut self) -> Option<ExportBatch> {
        if let Some(not_before) = self.not_before.take() {
            sleep_until(not_before).await;
        }
        self.queue.buffer.next().await
    }

    /// Sends a batch, again as long as its time lasts and the collector may take it later.
    async fn export(&mut self, items: Vec<u8>) -> Result<u64, ExportFailure> {
        let deadline = Instant::now() + self.queue.buffer.export_timeout();
        let batch = Encoded::of(&self.queue, Bytes::from(items)).await;
        let mut backoff = RETRY_BACKOFF.0;
        loop {
            let failure = match tokio::time::timeout_at(deadline, self.send(batch.clone())).await {
                Ok(Ok(rejected)) => return Ok(rejected),
                Ok(Err(failure)) => failure,
                Err(_) => ExportFailure::Late(self.queue.buffer.export_timeout()),
            };
            self.report(&failure);
            if !failure.is_retryable() {
                return Err(failure);
            }
            let asked = failure.retry_after();
            let again = Instant::now() + pause(asked, backoff);
            if again >= deadline {
                self.not_before = asked.map(|_| again);
                return Err(failure);
            }
            backoff = (backoff * 2).min(RETRY_BACKOFF.1);
            sleep_until(again).await;
        }
    }

    async fn send(&mut self, batch: Encoded) -> Result<u64, ExportFailure> {
        match batch {
            Encoded::Request(message) => self.client.send(&self.queue.collector, self.backend().as_ref(), message).await,
            Encoded::Entries(entries) => self.send_on_stream(entries).await.map(|()| 0),
        }
    }

    /// Sends entries on the stream that there is, else on a new one.
    async fn send_on_stream(&mut self, entries: Bytes) -> Result<(), ExportFailure> {
        loop {
            let stream = self.stream.take().unwrap_or_else(|| LogStream::new(&self.client, &self.queue, self.backend()));
            match stream.send(entries.clone()).await? {
                LogOutcome::Taken(stream) => self.stream = Some(stream),
                LogOutcome::Last => {}
                LogOutcome::Stale(why) => {
                    self.report_end(why.as_ref());
                    continue;
                }
            }
            return Ok(());
        }
    }

    /// Reports a stream that ended with an error between two messages, at most once in a while: another one takes its place.
    fn report_end(&mut self, why: Option<&ExportFailure>) {
        let Some(error) = why else { return };
        let now = Instant::now();
        if self.reported_end.is_none_or(|last| now.duration_since(last) >= END_INTERVAL) {
            self.reported_end = Some(now);
            let items = self.queue.envelope.items();
            tracing::warn!(collector = %self.name(), %error, "the collector has ended its stream of {items}; they go on another one");
        }
    }

    /// The backend of the next request, as the configuration has it now.
    fn backend(&self) -> Option<Arc<ClusterState>> {
        let CollectorTarget::Backends(backends) = &self.queue.collector.target else { return None };
        let runtime = self.context.upgrade()?.runtime.load_full()?;
        runtime.find(subrequest::choose(backends)?).cloned()
    }

    /// Reports the first failure after a success, and the first of another kind.
    fn report(&mut self, failure: &ExportFailure) {
        let kind = (discriminant(failure), failure.is_retryable());
        if self.failing.replace(kind) != Some(kind) {
            let then = if kind.1 { "they wait, and are dropped once too many do" } else { "they are dropped" };
            tracing::warn!(collector = %self.name(), error = %failure, "{} cannot be sent; {then}", self.queue.envelope.items());
        }
    }

    fn name(&self) -> String {
        let collector = &self.queue.collector;
        let protocol = match collector.protocol {
            OtlpProtocol::Grpc => "grpc",
            OtlpProtocol::HttpProtobuf => "http/protobuf",
        };
        match &collector.target {
            CollectorTarget::Url(url) => format!("{}:{} ({protocol})", url.host, url.port),
            CollectorTarget::Backends(backends) => match backends.first() {
                Some((_, key)) => format!("{} ({protocol})", key.endpoints),
                None => protocol.to_owned(),
            },
        }
    }
}

/// A batch on its way.
#[derive(Clone)]
enum Encoded {
    Request(OtlpMessage),
    Entries(Bytes),
}

impl Encoded {
    async fn of(queue: &ExportQueue, items: Bytes) -> Self {
        match queue.envelope.is_stream() {
            true => Self::Entries(items),
            false => Self::Request(message(queue, items).await),
        }
    }
}

/// The request that a batch is sent in, compressed on a thread that serves nobody.
async fn message(queue: &ExportQueue, items: Bytes) -> OtlpMessage {
    let message = queue.envelope.message(items, true);
    let protocol = queue.collector.protocol;
    if !queue.collector.is_compressed {
        return OtlpMessage::new(protocol, message, false);
    }
    let compressed = tokio::task::spawn_blocking(move || match gzip(&message.to_bytes()) {
        Ok(compressed) => OtlpMessage::new(protocol, Bytes::from(compressed).into(), true),
        Err(_) => OtlpMessage::new(protocol, message, false),
    });
    // An error is the runtime's end.
    compressed.await.unwrap_or_else(|_| OtlpMessage::new(protocol, Pieces::default(), false))
}

/// The pause after a failure: what the collector asked for, and no less than the backoff.
fn pause(asked: Option<Duration>, backoff: Duration) -> Duration {
    let own = backoff.mul_f64(0.5 + fastrand::f64() / 2.0);
    asked.map_or(own, |asked| asked.min(MAX_RETRY_AFTER).max(own))
}

/// Compresses a message.
fn gzip(message: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzipEncoder::new(Level::Fastest.into());
    let mut input = PartialBuffer::new(message);
    let mut output = Vec::new();
    loop {
        let written = output.len();
        output.resize(written + OUTPUT, 0);
        let mut buffer = WriteBuffer::new_initialized(&mut output[written..]);
        let is_done = match input.unwritten().is_empty() {
            false => encoder.encode(&mut input, &mut buffer).map(|()| false)?,
            true => encoder.finish(&mut buffer)?,
        };
        let length = written + buffer.written_len();
        output.truncate(length);
        if is_done {
            return Ok(output);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_cannot_ask_for_requests_without_a_pause_or_for_none_at_all() {
        let second = Duration::from_secs(1);
        for asked in [None, Some(Duration::ZERO)] {
            assert!((second / 2..=second).contains(&pause(asked, second)), "{asked:?}");
        }
        assert_eq!(pause(Some(second * 7), second), second * 7);
        assert_eq!(pause(Some(Duration::MAX), second), MAX_RETRY_AFTER);
    }
}
