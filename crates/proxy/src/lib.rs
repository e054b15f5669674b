//! The data plane: listeners, the request path, connections to backends.
//!
//! A [`Proxy`] is given snapshots and serves them. `request` is the path that every request takes, on one screen.
//!
//! - On the way in: [`server`] accepts on [`worker`]s; `request` finds listener, rule and backend; `filter` edits.
//! - Connections that are handed on as a whole, and datagrams: `forward`.
//! - On the way out: [`upstream`] connects ([`dns`], [`tls`]), `relay` hands responses on, [`request_log`] settles.
//! - What both ways have in common: `wire` (a connection's bytes, read ahead for `pailou_http1`), `timer`.
//! - State that outlives a snapshot: [`runtime`] joins the two; [`cluster`], [`breaker`], [`health`].
//! - For the operator: [`access_log`], [`metrics`], [`overview`], [`tracers`], [`endpoint_health`], [`error`].

pub mod access_log;
pub mod admission;
mod admitted_attempt;
mod attempt_record;
mod backend_body;
pub mod bandwidth;
mod body_error;
pub mod breaker;
mod client_cert_header;
pub mod cluster;
mod collector;
mod compression;
mod content_coding;
pub mod context;
mod credential;
pub mod cut_off;
pub mod dns;
pub mod endpoint_health;
mod envelope;
pub mod error;
mod error_response;
pub mod explanation;
mod export_buffer;
mod export_queue;
mod exporter;
mod filter;
mod forward;
mod gateway_log;
pub mod gateway_logs;
mod gauges;
pub mod geo_databases;
mod grpc_media_type;
mod guards;
mod headers;
pub mod health;
mod http_attributes;
pub mod idle;
mod key_fetcher;
mod key_sets;
mod limit_charge;
pub mod limit_service;
mod limit_service_calls;
mod line_writer;
pub mod local_addresses;
mod log_frames;
mod log_stream;
pub mod metric_exporters;
pub mod metrics;
pub mod metrics_transport;
mod mirror;
mod model_content;
pub mod model_spans;
pub mod oidc_providers;
pub mod overview;
mod possible_backends;
mod prefill_record;
mod prefilled_body;
pub mod proxy_protocol;
mod receipt_trail;
pub mod receipts;
mod redirect;
mod relay;
mod remote_document;
mod request;
pub mod request_body;
mod request_head;
mod request_input;
pub mod request_log;
mod request_notes;
mod request_record;
mod reset;
pub mod response_body;
mod response_cost;
mod response_edit;
mod retained;
mod rewrite;
mod rotated_file;
mod running_call;
mod running_queues;
pub mod runtime;
pub mod server;
mod session_record;
mod shared_limits;
mod spans;
mod stored_receipt;
mod subrequest;
mod tcp_keepalive;
mod template;
mod timer;
pub mod tls;
mod token_charges;
mod trace;
mod tracer;
pub mod tracers;
mod tunnel;
mod upgrade;
mod upload;
pub mod upstream;
mod url_host;
mod wall_clock;
mod weighted;
mod wire;
pub mod worker;
mod workers;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Write as _,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use pailou_limits::{CounterQuery, CounterView, Counters};
use pailou_picker::{MetricNames, TokenSource};
use pailou_snapshot::{Address, Endpoints, MetricSink, PortKey, RouteName, Snapshot, Tracing};
use pailou_store::SharedLimits;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;

use access_log::{AccessLog, CLOSE_TIMEOUT, Sink};
use bandwidth::RuleBuckets;
use cluster::Background;
use context::{Budget, Context};
use cut_off::CutOff;
use dns::{Dns, Overrides};
use endpoint_health::{EndpointHealth, EndpointLabels};
use explanation::{ExplainError, ExplainRequest, Sources};
use exporter::Exporter;
use gateway_logs::GatewayLogs;
use key_sets::KeySets;
use limit_service::LimitServiceSlot;
use local_addresses::LocalAddresses;
use metric_exporters::MetricExporters;
use metrics::{Metrics, RuleFigures};
use model_spans::ModelSpans;
use oidc_providers::OidcProviders;
use overview::Overview;
use receipts::{ReceiptSettings, Receipts};
use runtime::Runtime;
use server::{BindError, Server, Sockets};
use tracers::Tracers;
use worker::Worker;
use workers::Workers;

/// Wait for the log lines of the last requests, once their connections have ended.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Wait for collectors to take the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
/// Interval between two looks at whether they are there.
const SETTLE_INTERVAL: Duration = Duration::from_millis(2);

/// Options of a proxy.
pub struct Options {
    /// Worker threads; each serves its own connections.
    pub workers: usize,
    /// Names that lead elsewhere than DNS says.
    pub overrides: Overrides,
    /// Sink of the access log.
    pub access_log: Sink,
    /// Whether responses that the gateway gives by itself say why in a header.
    pub response_flags: bool,
    /// Request bodies that the process holds at once, in bytes.
    pub body_budget: u64,
    /// Names that metrics have beside Pailou's own.
    pub metric_names: MetricNames,
    /// Whether URLs of policies (identity providers, key sets) may lead to the machine itself.
    pub local_addresses: LocalAddresses,
    /// Whether backends may be the machine itself.
    pub local_backends: LocalAddresses,
    /// Routing receipts.
    pub receipts: ReceiptSettings,
    /// Traces of all Gateways without settings of their own.
    pub tracing: Option<Tracing>,
    /// Form of spans of model calls.
    pub model_spans: ModelSpans,
    /// A collector of metrics beside those that Gateways name.
    pub metric_sink: Option<MetricSink>,
    /// Tokenizers in this process, for pools that look up prompts' tokens.
    pub token_source: Option<Arc<dyn TokenSource>>,
}

/// Names that endpoints have.
type EndpointNames = HashSet<Arc<str>>;

/// A running data plane.
pub struct Proxy {
    context: Arc<Context>,
    server: Server<Worker>,
    workers: Workers,
    registry: Arc<Registry>,
    background: Background,
    /// Names of the endpoints in force. Held while a snapshot is put in force, so that two never interleave.
    applying: Mutex<EndpointNames>,
    tasks: Handle,
    draining: AtomicBool,
}

impl Proxy {
    /// Starts the workers. Must be called within a Tokio runtime, on which accept loops, health checks and scraping run.
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn start(options: Options) -> io::Result<Self> {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry, options.metric_names);
        let limits: Arc<Counters> = Arc::default();
        let context = Arc::new(Context {
            runtime: ArcSwapOption::empty(),
            metrics,
            log: AccessLog::start(options.access_log)?,
            tracers: Tracers::default(),
            gateway_logs: GatewayLogs::default(),
            metric_exporters: MetricExporters::default(),
            shared_limits: SharedLimits::new(limits.clone()),
            limits,
            limit_service: LimitServiceSlot::default(),
            oidc: OidcProviders::default(),
            local_addresses: options.local_addresses,
            key_sets: KeySets::default(),
            geo: Arc::default(),
            bandwidth: RuleBuckets::default(),
            bodies: Budget::new(options.body_budget),
            response_flags: options.response_flags,
            model_spans: options.model_spans,
            receipts: Receipts::new(&options.receipts),
            cut_off: CutOff::default(),
        });
        context.receipts.register(&mut registry);
        let tasks = Handle::current();
        let dns = Dns::new(tasks.clone(), options.overrides);
        context.geo.keep_fresh(&tasks);
        if let Some(settings) = options.tracing {
            context.tracers.start(settings, |queue| Exporter::start(queue, &context, dns.clone(), &tasks));
        }
        let workers = Workers::start(options.workers, &dns, &context)?;
        let server = Server::new(workers.handles(), tasks.clone());
        registry.register_collector(Box::new(gauges::Collector::new(context.clone(), dns.clone(), server.ports())));
        let registry = Arc::new(registry);
        if let Some(settings) = options.metric_sink {
            let start = |queue| Exporter::start(queue, &context, dns.clone(), &tasks);
            context.metric_exporters.start(settings, &registry, &tasks, start);
        }
        let background = health::background(tasks.clone(), dns).limited_to(options.local_backends);
        let background = background.with_token_source(options.token_source);
        let (applying, draining) = (Mutex::default(), AtomicBool::new(false));
        Ok(Self { context, server, workers, registry, background, applying, tasks, draining })
    }

    /// Takes sockets that another process listens on too. The next [`Self::apply`] uses those that its snapshot wants, and closes the
    /// others.
    pub fn adopt(&self, sockets: Sockets) {
        self.server.adopt(sockets);
    }

    /// All sockets listened on, for another process. They listen for as long as either has them.
    ///
    /// # Errors
    /// The system gives no more file descriptors.
    pub fn sockets(&self) -> io::Result<Sockets> {
        self.server.sockets()
    }

    /// Puts a snapshot in force; requests under way end under the one they began with. State of what stays is kept. Returns
    /// the sockets that could not be bound; everything else is served.
    pub fn apply(&self, snapshot: &Arc<Snapshot>, endpoints: &Endpoints) -> Vec<BindError> {
        let mut names = self.applying.lock();
        // Before the snapshot is in force: its first request has a tracer.
        let start = |queue| Exporter::start(queue, &self.context, self.background.dns.clone(), &self.tasks);
        self.context.tracers.follow(snapshot, start);
        self.context.gateway_logs.follow(snapshot, start);
        let current = self.context.runtime.load_full();
        match &current {
            Some(runtime) if Arc::ptr_eq(runtime.snapshot(), snapshot) => runtime.update_endpoints(endpoints),
            _ => {
                self.context.geo.follow(snapshot, &self.tasks);
                let runtime = Arc::new(Runtime::link(current.as_deref(), snapshot.clone(), endpoints, &self.background));
                self.context.runtime.store(Some(Arc::clone(&runtime)));
                key_fetcher::update(&self.context, &runtime, &self.background);
            }
        }
        shared_limits::use_store(&self.context, snapshot.limit_store.as_deref(), &self.tasks);
        self.context.limit_service.use_service(snapshot.limit_service.as_ref());
        // Routes first, sockets then: a connection never finds its port without routes.
        let errors = self.server.reconcile(&snapshot.ports);
        let service = self.context.limit_service.current();
        let of_backends = endpoints.values().flat_map(|group| group.iter().map(|endpoint| &endpoint.address));
        let there: HashSet<&Address> = of_backends.chain(service.as_ref().map(|service| service.address())).collect();
        for worker in self.workers.iter() {
            worker.upstreams.retain(|address| there.contains(address));
        }
        let host = |address: &&Address| match address {
            Address::Dns { host, .. } => Some(Arc::clone(host)),
            Address::Socket(_) | Address::Unix(_) => None,
        };
        let before = std::mem::replace(&mut *names, there.iter().filter_map(host).collect());
        if before != *names {
            self.background.dns.forget(|host| before.contains(host) && !names.contains(host));
        }
        // Last, for requests that have only just read the snapshot before.
        self.context.tracers.retire_others(snapshot);
        self.context.gateway_logs.retire_others(snapshot);
        self.context.metric_exporters.follow(&snapshot.metric_sinks, &self.registry, &self.tasks, start);
        errors
    }

    /// The sockets listened on: as the snapshot has them, and the address that the system gave, which differs where port 0 was
    /// wanted.
    pub fn addresses(&self) -> Vec<(PortKey, SocketAddr)> {
        self.server.addresses()
    }

    /// Whether requests are served: after the first snapshot, until draining begins.
    pub fn ready(&self) -> bool {
        self.context.runtime.load().is_some() && !self.draining.load(Ordering::Acquire)
    }

    /// All metrics in Prometheus's text format; none where every Gateway wants them hidden.
    pub fn encode_metrics(&self, out: &mut String) {
        if self.context.runtime.load().as_ref().is_some_and(|runtime| runtime.snapshot().hides_prometheus) {
            out.push_str("# EOF\n");
            return;
        }
        if prometheus_client::encoding::text::encode(out, &self.registry).is_err() {
            // Writing to a string does not fail; say so in the format all the same.
            let _ = writeln!(out, "# incomplete");
        }
        self.context.metrics.add_exemplars(out);
    }

    /// A text of metrics in the coding that a client accepts, with the coding's name; `None` where no Gateway has it compressed, or the client does
    /// not accept that.
    pub fn compress_metrics(&self, text: &str, headers: &http::HeaderMap) -> Option<(&'static str, Vec<u8>)> {
        let setting = self.context.runtime.load().as_ref()?.snapshot().prometheus_compression?;
        compression::compress(text.as_bytes(), setting, headers)
    }

    /// Explains a request as it would be served now, as JSON. `None` before the first configuration.
    ///
    /// # Errors
    /// It is no request that a gateway could get.
    pub fn explain(&self, request: &ExplainRequest) -> Result<Option<serde_json::Value>, ExplainError> {
        let Some(runtime) = self.context.runtime.load_full() else { return Ok(None) };
        explanation::explain(&Sources::of_runtime(&runtime), request).map(Some)
    }

    /// Routing receipts.
    pub fn receipts(&self) -> &Receipts {
        &self.context.receipts
    }

    /// Counters of limits, by rule and client.
    pub fn limits(&self, query: &CounterQuery) -> Vec<CounterView> {
        self.context.limits.views(wall_clock::unix_seconds(), query)
    }

    /// The gateway as a whole, with at most so many models, the busiest.
    pub fn overview(&self, most_models: usize) -> Overview {
        overview::of(&self.context, most_models)
    }

    /// Names of models that requests may ask for, at most so many of those that are known.
    pub fn model_names(&self, most: usize) -> BTreeSet<String> {
        overview::model_names(&self.context, most)
    }

    /// Requests of a rule; `None` where it had none, or is one of those beyond the bound of metrics.
    pub fn rule_figures(&self, name: &RouteName) -> Option<RuleFigures> {
        self.context.metrics.rule(name)
    }

    /// The configuration in force; `None` before the first.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.context.runtime.load().as_ref().map(|runtime| runtime.snapshot().clone())
    }

    /// Endpoints that get no requests for a while, and engines whose load is only estimated.
    pub fn troubled_endpoints(&self) -> BTreeMap<EndpointLabels, EndpointHealth> {
        let Some(runtime) = self.context.runtime.load_full() else { return BTreeMap::new() };
        let mut all = endpoint_health::of(&runtime);
        all.retain(|_, health| health.is_troubled());
        all
    }

    /// Stops accepting, lets requests under way end within `grace`, and cuts the rest: each gets an error and its line in the log. Returns
    /// how many connections were cut. A second call, with a shorter grace, ends the first one's wait.
    pub async fn drain(&self, grace: Duration) -> usize {
        self.draining.store(true, Ordering::Release);
        let cut = self.server.drain(grace, || self.context.cut_off()).await;
        // A stream over HTTP/2 may outlive its connection by a moment.
        let settled = async {
            while self.context.metrics.active.get() > 0 {
                tokio::time::sleep(SETTLE_INTERVAL).await;
            }
        };
        if tokio::time::timeout(SETTLE_TIMEOUT, settled).await.is_err() {
            tracing::warn!("requests ended without a line in the access log");
        }
        let logs = tokio::task::spawn_blocking({
            let context = Arc::clone(&self.context);
            move || {
                let deadline = Instant::now() + CLOSE_TIMEOUT;
                context.gateway_logs.close(deadline);
                context.log.close(deadline);
            }
        });
        // Side by side: a pod has 5 s for this.
        let (.., written) = tokio::join!(
            self.context.limit_service.finish(limit_service_calls::CALL_TIMEOUT),
            self.context.tracers.finish(FLUSH_TIMEOUT),
            self.context.gateway_logs.finish(FLUSH_TIMEOUT),
            self.context.metric_exporters.finish(FLUSH_TIMEOUT),
            self.context.shared_limits.stop(),
            logs,
        );
        if written.is_err() {
            tracing::warn!("the access log may lack its last lines");
        }
        cut
    }
}
