//! Receivers of lines: files, collectors of OpenTelemetry, Envoy's access log service.

use std::{path::Path, sync::Arc, time::Duration};

use http::HeaderName;
use pailou_api::{
    EnvoyProxy,
    envoy::access_log::{
        AccessLogServiceHeaders, AccessLogServiceSink, AccessLogServiceType, AccessLogSink, AccessLogSinkType, FileSink,
        OpenTelemetrySink,
    },
};
use pailou_snapshot::{Batching, Captured, Cluster, HeaderPlace, LogCollector, LogSender, LogSink, ServiceHeaders};

use crate::{
    gateway::GatewayState,
    resolver::Resolver,
    telemetry_collector::{self, CollectorBackends},
};

/// Most files of a Gateway: each has a thread.
const MAX_FILES: usize = 8;
/// Longest path, in bytes, as systems have it.
const MAX_PATH: usize = 4096;
/// Most headers of a list in entries.
const MAX_ENTRY_HEADERS: usize = 64;
/// Name of the log, as Envoy Gateway gives it to collectors.
const LOG_NAME: &str = "otel_envoy_accesslog";
/// Longest wait of a record for others.
const SCHEDULE_DELAY: Duration = Duration::from_secs(1);

/// Receivers of one Gateway, as they are read.
pub(super) struct Sinks<'r, 'a, 'c> {
    resolver: &'r mut Resolver<'a, 'c>,
    namespace: &'r str,
    /// `NAME.NAMESPACE` of the Gateway.
    gateway: String,
    files: Vec<Arc<Path>>,
    collectors: Vec<Arc<LogCollector>>,
    /// Clusters of the receivers.
    pub(super) clusters: Vec<Arc<Cluster>>,
}

impl<'r, 'a, 'c> Sinks<'r, 'a, 'c> {
    pub(super) fn new(proxy: &'r EnvoyProxy, gateway: &GatewayState<'_>, resolver: &'r mut Resolver<'a, 'c>) -> Self {
        let gateway = telemetry_collector::service(gateway);
        let namespace = &proxy.meta.namespace;
        Self { resolver, namespace, gateway, files: Vec::new(), collectors: Vec::new(), clusters: Vec::new() }
    }

    /// Reads a receiver.
    ///
    /// # Errors
    /// The field below it, and what is wrong with it.
    pub(super) fn read(&mut self, sink: &AccessLogSink, captured: &mut Captured) -> Result<LogSink, String> {
        let missing = |field: &str| format!(": `{field}` is missing, which its type needs");
        match sink.kind {
            AccessLogSinkType::File => self.file(sink.file.as_ref().ok_or_else(|| missing("file"))?),
            AccessLogSinkType::OpenTelemetry => {
                self.open_telemetry(sink.open_telemetry.as_ref().ok_or_else(|| missing("openTelemetry"))?)
            }
            AccessLogSinkType::Als => self.service(sink.als.as_ref().ok_or_else(|| missing("als"))?, captured),
        }
    }

    /// Fields of a receiver that its type does not use.
    pub(super) fn unused(sink: &AccessLogSink) -> impl Iterator<Item = &'static str> {
        use AccessLogSinkType as Type;
        let fields = [
            ("file", sink.file.is_some() && sink.kind != Type::File),
            ("openTelemetry", sink.open_telemetry.is_some() && sink.kind != Type::OpenTelemetry),
            ("als", sink.als.is_some() && sink.kind != Type::Als),
        ];
        fields.into_iter().filter_map(|(name, is_unused)| is_unused.then_some(name))
    }

    fn file(&mut self, FileSink { path }: &FileSink) -> Result<LogSink, String> {
        if !path.starts_with('/') || path.len() > MAX_PATH || path.contains('\0') {
            return Err(format!(".file.path: write an absolute path of at most {MAX_PATH} bytes"));
        }
        let path = Path::new(path);
        let known = self.files.iter().find(|known| &***known == path).cloned();
        if known.is_none() && self.files.len() >= MAX_FILES {
            return Err(format!(".file.path: {MAX_FILES} files are the most of a Gateway"));
        }
        let path = known.unwrap_or_else(|| {
            let path: Arc<Path> = Arc::from(path);
            self.files.push(Arc::clone(&path));
            path
        });
        Ok(LogSink::File(path))
    }

    fn open_telemetry(&mut self, sink: &OpenTelemetrySink) -> Result<LogSink, String> {
        let backends = self.backends(&sink.backend_refs, ".openTelemetry.backendRefs")?;
        let headers = telemetry_collector::headers(&sink.headers, ".openTelemetry.headers")?;
        let older = sink.resources.iter().filter(|(name, _)| !sink.resource_attributes.contains_key(*name));
        let named = older.chain(&sink.resource_attributes).map(|(name, value)| (name.as_str(), value.as_str()));
        let named = std::iter::once(("log_name", LOG_NAME)).chain(named);
        let sender = LogSender::Otlp(telemetry_collector::resource(&self.gateway, named));
        Ok(LogSink::OpenTelemetry(self.collector(sender, backends, headers)))
    }

    fn service(&mut self, sink: &AccessLogServiceSink, captured: &mut Captured) -> Result<LogSink, String> {
        let backends = self.backends(&sink.backend_refs, ".als.backendRefs")?;
        let is_tcp = sink.kind == AccessLogServiceType::Tcp;
        let headers = match (&sink.http, is_tcp) {
            (Some(_), true) => return Err(".als.http: set it where the type is HTTP".to_owned()),
            (None, true) => ServiceHeaders::default(),
            (http, false) => service_headers(http.as_ref(), captured)?,
        };
        let log_name = sink.log_name.clone().unwrap_or_else(|| self.gateway.clone()).into();
        let sender = LogSender::Service { is_tcp, log_name, gateway: self.gateway.as_str().into() };
        Ok(LogSink::Service(self.collector(sender, backends, Vec::new()), Arc::new(headers)))
    }

    fn backends(&mut self, refs: &[pailou_api::refs::BackendRef], field: &str) -> Result<CollectorBackends, String> {
        telemetry_collector::backends(self.resolver, self.namespace, refs, field)
    }

    /// The collector; one for all logs that send to it in the same way.
    fn collector(
        &mut self,
        sender: LogSender,
        (backends, clusters): CollectorBackends,
        headers: Vec<(HeaderName, http::HeaderValue)>,
    ) -> Arc<LogCollector> {
        let collector = telemetry_collector::collector(backends, headers);
        let batching = Batching { schedule_delay: SCHEDULE_DELAY, ..Batching::default() };
        let collector = LogCollector { sender, collector, batching };
        if let Some(known) = self.collectors.iter().find(|known| ***known == collector) {
            return Arc::clone(known);
        }
        self.clusters.extend(clusters);
        let collector = Arc::new(collector);
        self.collectors.push(Arc::clone(&collector));
        collector
    }
}

/// Headers in entries.
fn service_headers(http: Option<&AccessLogServiceHeaders>, captured: &mut Captured) -> Result<ServiceHeaders, String> {
    let none = AccessLogServiceHeaders::default();
    let http = http.unwrap_or(&none);
    Ok(ServiceHeaders {
        request: places(&http.request_headers, "requestHeaders", |name| captured.request(name))?,
        response: places(&http.response_headers, "responseHeaders", |name| captured.response(name))?,
        trailers: places(&http.response_trailers, "responseTrailers", |name| captured.trailer(name))?,
        user_agent: Some(captured.request(http::header::USER_AGENT)),
        referer: Some(captured.request(http::header::REFERER)),
        forwarded_for: Some(captured.request(HeaderName::from_static("x-forwarded-for"))),
    })
}

fn places(names: &[String], field: &str, mut place: impl FnMut(HeaderName) -> HeaderPlace) -> Result<Vec<HeaderPlace>, String> {
    if names.len() > MAX_ENTRY_HEADERS {
        return Err(format!(".als.http.{field}: {} names, but {MAX_ENTRY_HEADERS} are the most", names.len()));
    }
    let read = |name: &String| {
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!(".als.http.{field}: {name:?} is no name of a header"))?;
        Ok(place(name))
    };
    names.iter().map(read).collect()
}
