//! Access logs of Gateways' own, and the sinks that they write to.

use std::{
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use pailou_envoy_proto::access_log::{EntryKind, Identifier, Node};
use pailou_snapshot::{AccessLogs, ListenerAccessLog, LogCollector, LogSender, LogSink, PortKey, ServiceHeaders, Snapshot};
use pailou_telemetry::export::Signal;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    envelope::Envelope,
    export_queue::{ExportQueue, ExportStats, OpenQueue},
    line_writer::LineWriter,
    request_notes::RequestNotes,
    rotated_file::RotatedFile,
    running_queues::RunningQueues,
};

/// Variables that a Deployment fills in from the pod, and attributes of records.
const OF_POD: [(&str, &str); 2] = [("POD_NAMESPACE", "k8s.namespace.name"), ("POD_NAME", "k8s.pod.name")];

/// Logs of all Gateways.
#[derive(Default)]
pub struct GatewayLogs {
    /// By the settings of the snapshot in force, and for a moment of the one before. There are few.
    running: ArcSwap<Vec<Arc<RunningLogs>>>,
    files: Mutex<Vec<OpenFile>>,
    queues: RunningQueues,
    file_drops: Arc<AtomicU64>,
    otlp: Arc<ExportStats>,
    service: Arc<ExportStats>,
}

/// A file by its path, as long as a log has it.
type OpenFile = (Arc<Path>, Weak<LineWriter<()>>);

/// Logs of a Gateway, with their sinks.
pub(crate) struct RunningLogs {
    pub(crate) settings: Arc<AccessLogs>,
    /// Sinks of each log.
    pub(crate) sinks: Vec<Vec<RunningSink>>,
    /// Attributes that records have for the pod.
    pub(crate) of_pod: Vec<(&'static str, String)>,
}

/// Logs of a request's Gateway, and what they need of the request.
pub(crate) struct LoggedRequest {
    pub(crate) logs: Arc<RunningLogs>,
    pub(crate) notes: RequestNotes,
}

/// Access log of a request or a connection; `T` goes with a Gateway's own.
#[derive(Default)]
pub(crate) enum LogTarget<T> {
    /// The process's.
    #[default]
    Process,
    /// None.
    Off,
    /// The Gateway's own.
    Own(T),
}

/// A sink that takes lines.
pub(crate) enum RunningSink {
    /// A file.
    File(Arc<LineWriter<()>>),
    /// A collector of OpenTelemetry.
    Otlp(Arc<LogQueue>),
    /// Envoy's access log service.
    Service(Arc<LogQueue>, Arc<ServiceHeaders>),
}

/// Records on their way to a collector.
pub(crate) struct LogQueue {
    settings: Arc<LogCollector>,
    queue: OpenQueue,
}

impl LogQueue {
    /// Appends a record.
    pub(crate) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.queue.append(1, write);
    }

    /// Whether entries are of connections.
    pub(crate) fn is_tcp(&self) -> bool {
        matches!(self.settings.sender, LogSender::Service { is_tcp: true, .. })
    }
}

impl GatewayLogs {
    /// Starts the logs of a snapshot before it is in force; those of the one before go on. A sink goes on whose settings stay the same.
    pub(crate) fn follow(&self, snapshot: &Snapshot, start: impl Fn(Arc<ExportQueue>) -> watch::Receiver<()>) {
        let before = self.running.load_full();
        let mut all = Vec::clone(&before);
        for settings in settings_of(snapshot) {
            if all.iter().any(|known| Arc::ptr_eq(&known.settings, &settings)) {
                continue;
            }
            let mut logs = RunningLogs { settings: Arc::clone(&settings), sinks: Vec::new(), of_pod: of_pod() };
            for log in &settings.logs {
                let sinks = log.sinks.iter().filter_map(|sink| self.sink(sink, (&all, &logs), &start)).collect();
                logs.sinks.push(sinks);
            }
            all.push(Arc::new(logs));
        }
        if all.len() > before.len() {
            self.running.store(Arc::new(all));
        }
    }

    /// Lets logs go that the snapshot in force does not name: their sinks end after the requests that have them.
    pub(crate) fn retire_others(&self, snapshot: &Snapshot) {
        let (all, named) = (self.running.load_full(), settings_of(snapshot));
        let is_named = |logs: &Arc<RunningLogs>| named.iter().any(|named| Arc::ptr_eq(named, &logs.settings));
        let kept: Vec<_> = all.iter().filter(|logs| is_named(logs)).cloned().collect();
        if kept.len() < all.len() {
            self.running.store(Arc::new(kept));
        }
        drop(all);
        self.queues.forget_ended();
        self.files.lock().retain(|(_, file)| file.strong_count() > 0);
    }

    fn sink(
        &self,
        sink: &LogSink,
        (all, own): (&[Arc<RunningLogs>], &RunningLogs),
        start: &impl Fn(Arc<ExportQueue>) -> watch::Receiver<()>,
    ) -> Option<RunningSink> {
        let queue = |settings: &Arc<LogCollector>| {
            let sinks = all.iter().map(|logs| &**logs).chain([own]).flat_map(|logs| logs.sinks.iter().flatten());
            let known = sinks.filter_map(RunningSink::queue).find(|queue| queue.settings == *settings).cloned();
            known.unwrap_or_else(|| Arc::new(self.start_queue(settings, start)))
        };
        Some(match sink {
            LogSink::File(path) => RunningSink::File(self.file(path)?),
            LogSink::OpenTelemetry(settings) => RunningSink::Otlp(queue(settings)),
            LogSink::Service(settings, headers) => RunningSink::Service(queue(settings), Arc::clone(headers)),
        })
    }

    fn start_queue(&self, settings: &Arc<LogCollector>, start: &impl Fn(Arc<ExportQueue>) -> watch::Receiver<()>) -> LogQueue {
        let (envelope, stats) = match &settings.sender {
            LogSender::Otlp(resource) => (Envelope::Otlp(Signal::Logs, resource.clone()), &self.otlp),
            LogSender::Service { is_tcp, log_name, gateway } => {
                let id = std::env::var("POD_NAME").unwrap_or_else(|_| gateway.to_string());
                let node = Some(Node { id, cluster: gateway.to_string() });
                let kind = if *is_tcp { EntryKind::Tcp } else { EntryKind::Http };
                (Envelope::AccessLogService(kind, Identifier { node, log_name: log_name.to_string() }), &self.service)
            }
        };
        let queue = ExportQueue::new(settings.collector.clone(), envelope, settings.batching, Arc::clone(stats));
        LogQueue { settings: Arc::clone(settings), queue: self.queues.run(queue, start) }
    }

    /// The writer of a file; all logs of the process that name it share it.
    fn file(&self, path: &Arc<Path>) -> Option<Arc<LineWriter<()>>> {
        let mut files = self.files.lock();
        if let Some(known) = files.iter().find_map(|(known, file)| file.upgrade().filter(|_| known == path)) {
            return Some(known);
        }
        let out: Box<dyn Write + Send> = match path.to_str() {
            Some("/dev/stdout") => Box::new(io::stdout()),
            Some("/dev/stderr") => Box::new(io::stderr()),
            _ => Box::new(RotatedFile::new(Arc::clone(path))),
        };
        match LineWriter::start(&path.to_string_lossy(), out, Arc::clone(&self.file_drops)) {
            Ok(writer) => {
                let writer = Arc::new(writer);
                files.push((Arc::clone(path), Arc::downgrade(&writer)));
                Some(writer)
            }
            Err(error) => {
                tracing::error!(%error, log = %path.display(), "the access log has no thread, and no lines");
                None
            }
        }
    }

    /// The access log of a listener's requests or connections.
    pub(crate) fn target(&self, log: &ListenerAccessLog) -> LogTarget<Arc<RunningLogs>> {
        match log {
            ListenerAccessLog::Process => LogTarget::Process,
            ListenerAccessLog::Off => LogTarget::Off,
            ListenerAccessLog::Own(settings) => {
                let all = self.running.load();
                let logs = all.iter().find(|logs| Arc::ptr_eq(&logs.settings, settings));
                logs.map_or(LogTarget::Off, |logs| LogTarget::Own(Arc::clone(logs)))
            }
        }
    }

    /// Whether there are any.
    pub(crate) fn is_any(&self) -> bool {
        !self.running.load().is_empty()
    }

    /// Lines that files did not get.
    pub(crate) fn file_drops(&self) -> u64 {
        self.file_drops.load(Ordering::Relaxed)
    }

    /// Numbers of records for collectors of OpenTelemetry, and of entries for access log services.
    pub(crate) fn stats(&self) -> [(&'static str, &ExportStats); 2] {
        [("otlp", &self.otlp), ("als", &self.service)]
    }

    /// Sends what waits for collectors, within a time.
    pub(crate) async fn finish(&self, within: Duration) {
        self.queues.finish(within).await;
    }

    /// Writes what waits for files, by `deadline`. Blocks.
    pub(crate) fn close(&self, deadline: Instant) {
        let files = std::mem::take(&mut *self.files.lock());
        let files: Vec<_> = files.iter().filter_map(|(_, file)| file.upgrade()).collect();
        // All of them first: one that hangs takes no time from the others.
        files.iter().for_each(|file| file.end());
        files.iter().for_each(|file| file.close(deadline));
    }
}

impl RunningSink {
    fn queue(&self) -> Option<&Arc<LogQueue>> {
        match self {
            Self::File(_) => None,
            Self::Otlp(queue) | Self::Service(queue, _) => Some(queue),
        }
    }
}

/// The access log of a connection before a request names its host.
pub(crate) fn of_connection<'s>(snapshot: &'s Snapshot, key: PortKey, server_name: Option<&str>) -> Option<&'s ListenerAccessLog> {
    let port = snapshot.ports.iter().find(|port| port.key() == key)?;
    port.greeting(server_name).map(|listener| listener.access_log())
}

fn of_pod() -> Vec<(&'static str, String)> {
    OF_POD.iter().filter_map(|(variable, name)| Some((*name, std::env::var(variable).ok()?))).collect()
}

/// Settings of a snapshot's Gateways, each once.
fn settings_of(snapshot: &Snapshot) -> Vec<Arc<AccessLogs>> {
    let mut all: Vec<Arc<AccessLogs>> = Vec::new();
    for listener in snapshot.ports.iter().flat_map(|port| port.listeners()) {
        if let ListenerAccessLog::Own(settings) = listener.access_log()
            && all.iter().all(|known| !Arc::ptr_eq(known, settings))
        {
            all.push(Arc::clone(settings));
        }
    }
    all
}
