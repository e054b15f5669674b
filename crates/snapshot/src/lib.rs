//! The snapshot that the data plane serves: immutable, complete, already decided.
//!
//! A [`Snapshot`] is the output of the compiler and the only thing the proxy reads. Whatever can be decided before a request
//! comes is decided here: precedence is an order of entries, a missing reference is a rule that fails, a policy is a
//! plain value at the rule it applies to. Objects' run-time state (connections, counters, health) is not here: the proxy keeps it
//! by the keys that the snapshot gives ([`ClusterKey`], [`BreakerKey`]), so that it outlives a reload.

mod access_log;
mod admission_control;
mod bandwidth_limit;
mod client;
mod cluster;
mod connection;
mod contenders;
mod endpoint_role;
mod ext_proc;
mod external_auth;
mod filter;
mod forward;
mod geo;
mod host;
mod http_filter;
mod limit_service;
mod limit_store;
mod listener;
mod matching;
mod metric_sink;
mod oidc;
mod path;
mod policy;
mod policy_cookies;
mod pool;
mod remote_document;
mod route;
mod rule_summary;
mod scorer_weights;
mod secret;
mod secret_name;
mod session;
mod tls;
mod tracing;
mod weight;

pub use access_log::{
    AccessLog, AccessLogs, AddressPart, Captured, GrpcStatusForm, HeaderPlace, ListenerAccessLog, LogCollector, LogFormat,
    LogMetadata, LogOperator, LogPart, LogScope, LogSender, LogSink, LogText, ServiceHeaders, TimeFormat, TimePart,
};
pub use admission_control::AdmissionControl;
pub use bandwidth_limit::{BandwidthLimit, BandwidthTrailers};
pub use client::{
    ClientAddress, ClientCertDetails, ClientKeepalive, ClientPolicy, ClientProxyProtocol, ClientTimeouts, ForwardedClientCert,
    ForwardedClientCertMode, Http2Settings, RequestIds, UnderscoredHeaders,
};
pub use cluster::{
    ActiveCheck, Address, Cluster, ClusterId, ClusterKey, ClusterKind, ContextRange, Endpoint, EndpointKey, Endpoints, HashSource,
    HealthChecks, HealthProbe, LoadBalancer, PassiveCheck, Protocol, ProxyProtocolVersion,
};
pub use connection::{ConnectionSettings, DnsFamily, DnsSettings, UpstreamHttp2};
pub use contenders::{Contender, KnownRequest, Miss};
pub use endpoint_role::EndpointRole;
pub use ext_proc::{BodyProcessing, ExtProc, ProcessedParts};
pub use external_auth::{AuthPath, AuthProtocol, AuthSettings, ContextExtensions, ExternalAuth, RouteMetadata};
pub use filter::{
    Credential, DirectResponse, Filters, Fraction, HeaderAction, HeaderEdit, HostRewrite, Mirror, PathRewrite, Redirect, Rewrite,
    TemplateEdit,
};
pub use forward::Forward;
pub use geo::GeoSources;
pub use host::{HostMap, HostPattern, normalize_host};
pub use http_filter::{
    Abort, AuthorizationFilter, Compression, Compressor, ContentCoding, Cors, CorsOrigin, CsrfFilter, DeniedModel, Fault,
    HttpFilter, MODEL_HEADERS, OverrideResponse, OverrideRule, RateLimitFilter, RequestFact, ResponseOverride, Template,
    TemplatePart, is_model_header,
};
pub use limit_service::{LimitService, LimitServiceAddress, LimitServiceUrlError};
pub use limit_store::{LimitStore, StoreAddress, StoreNode, StoreSecret, StoreTls, StoreUrlError};
pub use listener::{ConnectionListener, Listener, ListenerName, ListenerRef, Port, PortKey, PortService, TlsListener, Transport};
pub use matching::{
    Body, Conditions, HeaderMatch, MatchOutcome, PathMatch, QueryMatch, RequestView, RouteMatch, RouteTable, ValueMatch,
};
pub use metric_sink::MetricSink;
pub use oidc::OidcFilter;
pub use path::{EscapedSlashes, NormalPath, PathError, PathNormalization, normal_pattern, normalize_path};
pub use policy::{CircuitBreaker, FieldOrigin, Retry, RetryBudget, RetryTrigger, RulePolicy, Timeouts};
pub use policy_cookies::{CookieHosts, PolicyCookies};
pub use pool::{
    Criticality, Disaggregation, FailureMode, KvConnector, KvEvents, ModelServer, ModelTarget, OnePool, PickerKind, Pool,
    PoolModel, Queueing, RoutingStrategy,
};
pub use remote_document::{DocumentContent, RemoteDocument};
pub use route::{Action, BackendRef, Backends, BreakerId, BreakerKey, Failure, NumberedMatch, RouteKind, RouteName, Rule};
pub use scorer_weights::ScorerWeights;
pub use secret::{HiddenText, SecretValue};
pub use secret_name::{is_secret_name, is_secret_value, without_query, without_query_of_url};
pub use session::{SessionCarrier, SessionPersistence};
pub use tls::{AltNameKind, AltNameMatch, ClientCertificates, ClientTrust, Roots, San, ServerTls, TlsVersion, UpstreamTls};
pub use tracing::{
    Batching, Collector, CollectorTarget, CollectorUrl, CustomSpans, ListenerTracing, OtlpProtocol, SpanTag, Tracing,
};
pub use weight::at_point;

use std::{collections::BTreeMap, fmt, sync::Arc};

/// Everything the data plane needs, except the endpoints, which live in cells of their own (see [`Endpoints`]).
#[derive(Debug, Default)]
pub struct Snapshot {
    /// The sockets to listen on. Each address at most once, except in a cluster's controller, where each Gateway has its own.
    pub ports: Vec<Port>,
    /// The groups of endpoints that rules refer to by [`ClusterId`].
    pub clusters: Vec<Arc<Cluster>>,
    /// The identities of the circuit breakers' counters that rules refer to by [`BreakerId`].
    pub breakers: Vec<BreakerKey>,
    /// The documents to fetch, each once, in the order of their identities.
    pub documents: Vec<Arc<RemoteDocument>>,
    /// Cookies of sessions, which reach no backend; `None` where no policy logs anybody in.
    pub session_cookies: Option<PolicyCookies>,
    /// Base model by LoRA adapter, for `X-Gateway-Base-Model-Name`.
    pub base_models: BTreeMap<String, String>,
    /// The store that global limits are counted in; without, every process counts alone.
    pub limit_store: Option<Arc<LimitStore>>,
    /// The rate limit service that decides on global limits, in place of the process's counters and the store.
    pub limit_service: Option<Arc<LimitService>>,
    /// Collectors that get the process's metrics.
    pub metric_sinks: Vec<Arc<MetricSink>>,
    /// The endpoint for Prometheus shows none.
    pub hides_prometheus: bool,
    /// Compression of the endpoint for Prometheus.
    pub prometheus_compression: Option<Compression>,
}

impl Snapshot {
    /// Databases of the places of addresses, by listener.
    pub fn geo_sources(&self) -> impl Iterator<Item = &GeoSources> {
        self.ports.iter().flat_map(Port::listeners).filter_map(|listener| match listener {
            ListenerRef::Http(listener) => listener.geo.as_deref(),
            ListenerRef::Connections(_) => None,
        })
    }

    /// The cluster that a rule of this snapshot refers to.
    pub fn cluster(&self, id: ClusterId) -> &Arc<Cluster> {
        &self.clusters[id.0 as usize]
    }
}

/// The name of a namespaced object, shown as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// The object's namespace.
    pub namespace: Arc<str>,
    /// The object's name within it.
    pub name: Arc<str>,
}

impl Name {
    /// A name from its two parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
