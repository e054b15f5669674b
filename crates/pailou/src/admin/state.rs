//! State of a process that the admin endpoint shows.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use pailou_compile::status::Statuses;
use pailou_epp::EndpointPicker;
use pailou_proxy::Proxy;
use pailou_snapshot::RouteName;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{
    guard::AdminGuard,
    limits_page::LimitsPage,
    object_rows::{self, PageQuery},
    overview_stream::Overviews,
    routes_page,
    try_out::MAX_TRIES,
};
use crate::{
    document::Document,
    gather::{Gatherer, Selection},
    overview::{self, ObjectsCache, Overview},
    source::{Problem, Strictness},
};

/// Requests answered at the same time, probes apart: viewers, tries and those who wait for a receipt are less than that.
pub(super) const MAX_REQUESTS: usize = 64;
/// Choices of proxies that viewers look at, at the same time.
pub(super) const MAX_CHOICES: usize = 8;

/// Part of a process that serves: a gateway, a controller or a picker.
pub(crate) trait Component: Send + Sync + 'static {
    /// Whether it can take requests.
    fn is_ready(&self) -> bool;
    /// Appends every metric in Prometheus's text format.
    fn encode_metrics(&self, text: &mut String);
    /// Its state as JSON. Holds no secrets.
    fn status(&self) -> String;
    /// It as a whole, without what is the same for all: name, version, times, readiness.
    fn overview(&self) -> Overview;
    /// The data plane that receipts are of; `None` where it is none.
    fn proxy(&self) -> Option<&Arc<Proxy>> {
        None
    }
    /// Reader of the proxies of a controller; `None` where it is none.
    fn gatherer(&self) -> Option<&Arc<Gatherer>> {
        None
    }
    /// A page of its routes as JSON; `None` where it has none.
    fn routes(&self, _: &PageQuery) -> Option<String> {
        None
    }
    /// A page of its other objects as JSON; `None` where it has none.
    fn objects(&self, _: &PageQuery) -> Option<String> {
        None
    }
    /// Reason that it has no routes and objects, a line.
    fn no_objects(&self) -> String {
        "it has no objects: only gateways and the controller that leads have\n".to_owned()
    }
    /// A page of the counters of its limits as JSON; `None` where it has none.
    fn limits(&self, _: &LimitsPage) -> Option<String> {
        None
    }
}

/// A component, and whether it drains.
pub(crate) struct AdminState<C> {
    component: C,
    guard: AdminGuard,
    is_draining: AtomicBool,
    started: Instant,
    overviews: parking_lot::Mutex<BTreeMap<Selection, Arc<Overviews>>>,
    tries: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

impl<C: Component> AdminState<C> {
    /// State of a component that does not drain.
    pub(crate) fn new(component: C) -> Self {
        Self {
            component,
            guard: AdminGuard::default(),
            is_draining: AtomicBool::new(false),
            started: Instant::now(),
            overviews: Default::default(),
            tries: Arc::new(Semaphore::new(MAX_TRIES)),
            requests: Arc::new(Semaphore::new(MAX_REQUESTS)),
        }
    }

    /// The same that admits requests by these rules.
    pub(crate) fn guarded(self, guard: AdminGuard) -> Self {
        Self { guard, ..self }
    }

    /// Rules for requests about single requests.
    pub(crate) fn guard(&self) -> &AdminGuard {
        &self.guard
    }

    /// The component.
    pub(crate) fn component(&self) -> &C {
        &self.component
    }

    /// Samples of it, for those who look at these proxies; `None` where too many choices are looked at.
    pub(super) fn overviews(&self, selection: &Selection) -> Option<Arc<Overviews>> {
        let mut rings = self.overviews.lock();
        if !rings.contains_key(selection) {
            rings.retain(|known, ring| *known == Selection::All || ring.is_used());
            if rings.len() >= MAX_CHOICES {
                return None;
            }
        }
        Some(rings.entry(selection.clone()).or_default().clone())
    }

    /// Places of requests that operators try.
    pub(super) fn tries(&self) -> &Arc<Semaphore> {
        &self.tries
    }

    /// Places of requests, probes apart.
    pub(super) fn requests(&self) -> &Arc<Semaphore> {
        &self.requests
    }

    /// The process as a whole now, as a line of JSON; a controller's with the sums of these proxies.
    pub(super) async fn overview_line(&self, selection: &Selection) -> String {
        let mut component = self.component.overview();
        if let Some(gatherer) = self.component.gatherer() {
            gatherer.fill(selection, &mut component).await;
        }
        let overview = Overview {
            schema: overview::SCHEMA.to_owned(),
            at: format!("{:.3}", jiff::Timestamp::now()),
            uptime_seconds: seconds(self.started),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: process_name(),
            ready: self.is_ready(),
            ..component
        };
        serde_json::to_string(&overview).expect("samples are strings and numbers")
    }

    /// Reports "not ready" from now on, so that new requests go elsewhere.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether new requests should come here.
    pub(crate) fn is_ready(&self) -> bool {
        self.component.is_ready() && !self.is_draining.load(Ordering::Relaxed)
    }
}

/// Seconds since then, to milliseconds.
fn seconds(begin: Instant) -> f64 {
    (begin.elapsed().as_secs_f64() * 1e3).round() / 1e3
}

/// The pod, or the host.
pub(crate) fn process_name() -> String {
    std::env::var("POD_NAME").unwrap_or_else(|_| rustix::system::uname().nodename().to_string_lossy().into_owned())
}

/// A data plane with the statuses of its configuration.
pub(crate) struct GatewayComponent {
    proxy: Arc<Proxy>,
    /// Name of the process, which no other has, and its begin: readers tell by them which of two answers is the later one.
    process: (String, Instant),
    objects: ObjectsCache,
    configuration: Mutex<Option<Configuration>>,
}

/// Statuses of the objects, and problems of the files they came from.
type Configuration = (Arc<Statuses>, Arc<[Problem]>);

impl GatewayComponent {
    /// A gateway without a configuration.
    pub(crate) fn new(proxy: Arc<Proxy>) -> Self {
        let process = (format!("{:016x}", fastrand::u64(..)), Instant::now());
        Self { proxy, process, objects: ObjectsCache::default(), configuration: Mutex::new(None) }
    }

    fn configuration(&self) -> Option<Configuration> {
        self.configuration.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows another configuration from now on.
    pub(crate) fn configure(&self, statuses: Arc<Statuses>, problems: Arc<[Problem]>) {
        *self.configuration.lock().unwrap_or_else(PoisonError::into_inner) = Some((statuses, problems));
    }
}

impl Component for GatewayComponent {
    fn is_ready(&self) -> bool {
        self.proxy.ready()
    }

    fn encode_metrics(&self, text: &mut String) {
        self.proxy.encode_metrics(text);
    }

    fn overview(&self) -> Overview {
        let overview = overview::of_gateway(&self.proxy);
        let Some((statuses, problems)) = self.configuration() else { return overview };
        Overview { problems: self.objects.of(&statuses).problems + overview::of_files(&problems), ..overview }
    }

    fn status(&self) -> String {
        match self.configuration() {
            Some((statuses, problems)) => {
                let document = Document::new(&statuses, &problems, Strictness::SERVING);
                pretty(&document.with_endpoints(&self.proxy.troubled_endpoints()))
            }
            None => pretty(&json!({})),
        }
    }

    fn proxy(&self) -> Option<&Arc<Proxy>> {
        Some(&self.proxy)
    }

    fn routes(&self, query: &PageQuery) -> Option<String> {
        let (statuses, _) = self.configuration().unwrap_or_default();
        let figures = |name: &RouteName| self.proxy.rule_figures(name);
        let (name, begin) = &self.process;
        let age = seconds(*begin);
        let mut page = routes_page::page(query, &statuses, self.proxy.snapshot().as_deref(), Some(&figures));
        (page["process"], page["uptimeSeconds"]) = (name.as_str().into(), age.into());
        Some(pretty(&page))
    }

    fn objects(&self, query: &PageQuery) -> Option<String> {
        let (statuses, _) = self.configuration().unwrap_or_default();
        Some(pretty(&object_rows::page(query, &statuses)))
    }

    fn limits(&self, page: &LimitsPage) -> Option<String> {
        Some(pretty(&page.of(self.proxy.limits(&page.counters()))))
    }
}

impl Component for Arc<EndpointPicker> {
    fn overview(&self) -> Overview {
        overview::of_picker(self)
    }

    fn is_ready(&self) -> bool {
        EndpointPicker::is_ready(self)
    }

    fn encode_metrics(&self, text: &mut String) {
        EndpointPicker::encode_metrics(self, text);
    }

    fn status(&self) -> String {
        let endpoints = self.endpoints();
        let endpoints = endpoints.iter().map(|report| {
            json!({
                "name": &*report.endpoint.name,
                "address": report.endpoint.address.to_string(),
                "fresh": report.fresh,
                "metricsProblem": report.metrics_problem.as_deref(),
                "waiting": report.waiting,
                "running": report.running,
                "kv": report.kv,
                "inFlight": report.in_flight,
                "inFlightTokens": report.in_flight_tokens,
                "failing": report.failing,
                "prefixBlocks": report.prefix_blocks,
                "kvEventsComplete": report.kv_events_complete,
            })
        });
        pretty(&json!({"ready": EndpointPicker::is_ready(self), "endpoints": endpoints.collect::<Vec<_>>()}))
    }
}

/// A document as an operator reads it.
pub(crate) fn pretty(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).expect("states are strings and numbers") + "\n"
}
