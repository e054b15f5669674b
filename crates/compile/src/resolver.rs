//! References of one route, or of one listener, to backends: the clusters that they lead to.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use crate::status::Problem;
use pailou_api::{
    Meta,
    envoy::{ENVOY_GROUP, backend::AppProtocol},
    inference_pool::{INFERENCE_GROUP, INFERENCE_X_GROUP, PoolProtocol},
    refs::BackendObjectReference,
};
use pailou_snapshot::{
    BreakerId, BreakerKey, Cluster, ClusterId, ClusterKey, ClusterKind, EndpointKey, Failure, Name, PickerKind, Pool, Protocol,
    RateLimitFilter, RemoteDocument, San, Transport, UpstreamTls,
};

use super::{
    backend_limits,
    client_certificates::Identity,
    cluster_ids::UsedIds,
    clusters::Clusters,
    draft::{Draft, told_apart},
    grants::{Referent, Referrer},
    ids::{PolicyId, PoolId},
    index::{Index, name_of},
    oidc::CookieSettings,
    policies::traffic::Traffic,
    servers::{self, BACKENDS, service_port},
};

/// Target of a reference.
pub(crate) struct Resolved {
    pub(crate) cluster: Result<ClusterId, Failure>,
    /// The pool, where it is one.
    pub(crate) pool: Option<Name>,
    /// A Backend that is to be used as far as others are not healthy.
    pub(crate) fallback: bool,
    /// Limits of the backend itself.
    pub(crate) limits: Option<Arc<RateLimitFilter>>,
}

/// Load that a route sends to its backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Load {
    /// Requests of HTTP.
    Http,
    /// Requests of gRPC.
    Grpc,
    /// The bytes of connections.
    Bytes,
    /// The bytes of connections that are TLS already: none is laid around them.
    Sealed,
    /// Datagrams, which carry no TLS.
    Datagrams,
}

impl Load {
    /// The default protocol of a backend.
    fn protocol(self) -> Protocol {
        match self {
            Self::Http => Protocol::Http1,
            Self::Grpc => Protocol::Http2,
            Self::Bytes | Self::Sealed | Self::Datagrams => Protocol::Opaque,
        }
    }

    fn is_requests(self) -> bool {
        matches!(self, Self::Http | Self::Grpc)
    }

    /// Whether TLS can be laid around it.
    fn takes_tls(self) -> bool {
        !matches!(self, Self::Sealed | Self::Datagrams)
    }

    /// As Services name it.
    fn transport(self) -> Transport {
        if self == Self::Datagrams { Transport::Udp } else { Transport::Tcp }
    }
}

/// Resolves the references of one route or listener, and keeps account of what it uses.
pub(crate) struct Resolver<'t, 'a> {
    pub(crate) index: &'t Index<'a>,
    clusters: &'t mut Clusters<'a>,
    /// The certificate that the Gateway presents to backends that have a BackendTLSPolicy.
    pub(crate) identity: Option<Identity>,
    /// Whether pools are served without the pickers that they name, where those do not exist.
    pub(crate) replaces_pickers: bool,
    /// Whether references are only judged, and nothing is numbered.
    pub(crate) is_dry: bool,
    used: UsedIds,
    policies: BTreeSet<PolicyId>,
    pools: BTreeSet<PoolId>,
    /// Documents to fetch.
    pub(crate) documents: HashSet<RemoteDocument>,
    /// Cookies of the sessions that clients of the rules have.
    pub(crate) cookies: HashSet<CookieSettings>,
}

/// Everything that one route or listener uses.
pub(crate) struct Usage {
    pub(crate) ids: UsedIds,
    /// BackendTLSPolicies.
    pub(crate) policies: BTreeSet<PolicyId>,
    /// InferencePools.
    pub(crate) pools: BTreeSet<PoolId>,
    /// Documents to fetch.
    pub(crate) documents: HashSet<RemoteDocument>,
}

impl<'t, 'a> Resolver<'t, 'a> {
    pub(crate) fn new(index: &'t Index<'a>, clusters: &'t mut Clusters<'a>) -> Self {
        Self {
            index,
            clusters,
            identity: None,
            replaces_pickers: false,
            is_dry: false,
            used: UsedIds::default(),
            policies: BTreeSet::new(),
            pools: BTreeSet::new(),
            documents: HashSet::new(),
            cookies: HashSet::new(),
        }
    }

    /// Everything that was used.
    pub(crate) fn finish(self) -> Usage {
        let Self { used: ids, policies, pools, documents, .. } = self;
        Usage { ids, policies, pools, documents }
    }

    /// Finds what a reference leads to.
    pub(crate) fn resolve(
        &mut self,
        from: Referrer<'_>,
        to: &BackendObjectReference,
        traffic: &Traffic,
        load: Load,
    ) -> Result<Resolved, Problem> {
        let namespace = to.namespace.as_deref().unwrap_or(from.namespace);
        let (group, kind) = (&*to.group, &*to.kind);
        if load.is_requests() && matches!((group, kind), (INFERENCE_GROUP | INFERENCE_X_GROUP, "InferencePool")) {
            self.permit(from, to)?;
            return self.pool(namespace, to, traffic, load);
        }
        let Some(draft) = self.draft(from, to, load)? else {
            let allowed = if load.is_requests() { &BACKENDS[..] } else { &BACKENDS[..2] };
            return Err(servers::invalid_kind(to, allowed));
        };
        let fallback = matches!(draft.kind, ClusterKind::Backend)
            && self.index.backends.get(namespace, &to.name).is_some_and(|backend| backend.spec.fallback);
        let limits = self.limits(namespace, to, load)?;
        Ok(Resolved { cluster: Ok(self.intern(draft, traffic)), pool: None, fallback, limits })
    }

    /// Limits of a Service or a Backend. Connections have none.
    fn limits(&self, namespace: &str, to: &BackendObjectReference, load: Load) -> Result<Option<Arc<RateLimitFilter>>, Problem> {
        if !load.is_requests() {
            return Ok(None);
        }
        let meta = match &*to.kind {
            "Service" => self.index.services.get(namespace, &to.name).map(|it| &it.meta),
            _ => self.index.backends.get(namespace, &to.name).map(|it| &it.meta),
        };
        meta.map_or(Ok(None), |meta| self.limits_of(&to.kind, meta))
    }

    fn limits_of(&self, kind: &str, meta: &Meta) -> Result<Option<Arc<RateLimitFilter>>, Problem> {
        let Meta { namespace, name, .. } = meta;
        let problem = |reason| Problem::refs("InvalidBackendRef", format!("{kind} {namespace}/{name}: {reason}"));
        backend_limits::read(self.index, kind, meta).map_err(problem)
    }

    /// The cluster of an authorization server: no policy for backends is laid upon it.
    pub(crate) fn authorizer(&mut self, from: Referrer<'_>, to: &BackendObjectReference, load: Load) -> Result<Cluster, Problem> {
        Ok(self.server(from, to, load)?.cluster(&Traffic::default()))
    }

    /// The cluster of a server that a policy names, with the settings that the policy has for it. One of gRPC speaks that whatever its
    /// port's `appProtocol` is.
    pub(crate) fn policy_server(
        &mut self,
        from: Referrer<'_>,
        to: &BackendObjectReference,
        load: Load,
        traffic: &Traffic,
    ) -> Result<Cluster, Problem> {
        let draft = self.server(from, to, load)?;
        let protocol = if load == Load::Grpc { Protocol::Http2 } else { draft.protocol };
        Ok(Draft { protocol, ..draft }.cluster(traffic))
    }

    /// A server that the gateway asks by its own name.
    fn server(&mut self, from: Referrer<'_>, to: &BackendObjectReference, load: Load) -> Result<Draft, Problem> {
        let draft = self.draft(from, to, load)?.ok_or_else(|| servers::invalid_kind(to, &BACKENDS[..2]))?;
        let tls = draft.tls.map(|tls| tls.map(by_own_name));
        Ok(Draft { tls, ..draft })
    }

    /// Resolves a reference to a Service or a Backend; `None` if it is to something else.
    fn draft(&mut self, from: Referrer<'_>, to: &BackendObjectReference, load: Load) -> Result<Option<Draft>, Problem> {
        let namespace = to.namespace.as_deref().unwrap_or(from.namespace);
        match (&*to.group, &*to.kind) {
            ("", "Service") => {
                self.permit(from, to)?;
                self.service(namespace, to, load).map(Some)
            }
            (ENVOY_GROUP, "Backend") => {
                self.permit(from, to)?;
                self.backend(namespace, &to.name, load).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn permit(&self, from: Referrer<'_>, to: &BackendObjectReference) -> Result<(), Problem> {
        let namespace = to.namespace.as_deref().unwrap_or(from.namespace);
        self.index.permit(from, Referent { group: &to.group, kind: &to.kind, namespace, name: &to.name })
    }

    /// Holds a cluster for the route.
    pub(crate) fn held(&mut self, cluster: Cluster) -> ClusterKey {
        let key = cluster.key.clone();
        self.add(|| Arc::new(cluster));
        key
    }

    /// The breaker of this identity.
    pub(crate) fn breaker(&mut self, key: BreakerKey) -> BreakerId {
        if self.is_dry {
            return BreakerId(u32::MAX);
        }
        self.clusters.cluster_ids.breaker(key, &mut self.used)
    }

    fn service(&mut self, namespace: &str, to: &BackendObjectReference, load: Load) -> Result<Draft, Problem> {
        let (service, port) = service_port(self.index, namespace, &to.name, to.port.map(|port| port.get()), load.transport())?;
        let policy = self.clusters.tls.of_service(namespace, &to.name, &port.name).filter(|_| load.takes_tls());
        let tls = match policy {
            Some((place, tls)) => {
                self.policies.insert(place);
                tls.and_then(|tls| self.identified(tls)).map(Some)
            }
            None => Ok(None),
        };
        Ok(Draft {
            endpoints: match load.transport() {
                Transport::Tcp => EndpointKey::Service(name_of(&service.meta), port.port),
                Transport::Udp => EndpointKey::UdpService(name_of(&service.meta), port.port),
            },
            kind: ClusterKind::Service,
            protocol: match port.app_protocol.as_deref() {
                _ if !load.is_requests() => Protocol::Opaque,
                Some("kubernetes.io/h2c" | "grpc") => Protocol::Http2,
                Some("kubernetes.io/ws" | "kubernetes.io/wss" | "http") => Protocol::Http1,
                _ => load.protocol(),
            },
            tls,
        })
    }

    fn backend(&mut self, namespace: &str, name: &str, load: Load) -> Result<Draft, Problem> {
        let missing = || Problem::refs("BackendNotFound", format!("there is no Backend {name} in namespace {namespace}"));
        let backend = self.index.backends.get(namespace, name).ok_or_else(missing)?;
        let own = self.clusters.backends.tls(namespace, name)?.filter(|_| load.takes_tls());
        let tls = match self.clusters.tls.of_backend(namespace, name).filter(|_| load.takes_tls()) {
            Some((place, tls)) => {
                self.policies.insert(place);
                tls.and_then(|tls| self.identified(beside_policy(tls, own.as_deref()))).map(Some)
            }
            None => Ok(own),
        };
        let protocols = &backend.spec.app_protocols;
        let protocol = if protocols.contains(&AppProtocol::H2c) && load.is_requests() {
            Protocol::Http2
        } else if protocols.is_empty() || !load.is_requests() {
            load.protocol()
        } else {
            Protocol::Http1
        };
        Ok(Draft { endpoints: EndpointKey::Backend(name_of(&backend.meta)), kind: ClusterKind::Backend, protocol, tls })
    }

    /// TLS with the Gateway's certificate, unless the backend's own settings name one.
    fn identified(&self, tls: Arc<UpstreamTls>) -> Result<Arc<UpstreamTls>, Failure> {
        match &self.identity {
            Some(identity) if tls.client_certificate.is_none() => {
                let client_certificate = Some(identity.clone()?);
                Ok(Arc::new(UpstreamTls { client_certificate, ..UpstreamTls::clone(&tls) }))
            }
            _ => Ok(tls),
        }
    }

    fn pool(&mut self, namespace: &str, to: &BackendObjectReference, traffic: &Traffic, load: Load) -> Result<Resolved, Problem> {
        let Some(place) = self.clusters.pools.find(&to.group, namespace, &to.name) else {
            let message = format!("there is no InferencePool {} ({}) in namespace {namespace}", to.name, to.group);
            return Err(Problem::refs("BackendNotFound", message));
        };
        self.pools.insert(place);
        let (object, compiled) = self.clusters.pools.get(place, self.replaces_pickers);
        let pool = match compiled {
            Ok(pool) => self.with_picker(place, pool),
            Err(failure) => return Ok(Resolved { cluster: Err(failure), pool: None, fallback: false, limits: None }),
        };
        let name = pool.name.clone();
        let protocol = if object.spec.app_protocol == PoolProtocol::H2c { Protocol::Http2 } else { load.protocol() };
        let tls = match self.clusters.tls.of_pool(&to.group, namespace, &to.name) {
            Some((policy, tls)) => {
                self.policies.insert(policy);
                tls.and_then(|tls| self.identified(tls)).map(Some)
            }
            None => Ok(None),
        };
        let draft = Draft { endpoints: EndpointKey::Pool(name.clone()), kind: ClusterKind::Pool(pool), protocol, tls };
        let limits = self.limits_of("InferencePool", &object.meta)?;
        Ok(Resolved { cluster: Ok(self.intern(draft, traffic)), pool: Some(name), fallback: false, limits })
    }

    /// The pool, with its endpoint picker held for the route. A picker that has a BackendTLSPolicy is shown the Gateway's
    /// certificate, as a backend is: it is another cluster for each Gateway then, and so is the pool.
    fn with_picker(&mut self, id: PoolId, pool: Arc<Pool>) -> Arc<Pool> {
        let Some((picker, policy)) = self.clusters.pools.picker(id) else { return pool };
        let picker = Arc::clone(picker);
        self.policies.extend(policy);
        let (PickerKind::External { failure_mode, timeout, queues, .. }, Some(_), Some(_)) = (&pool.picker, policy, &self.identity)
        else {
            self.add(|| picker);
            return pool;
        };
        let tls = picker.tls.clone().and_then(|tls| tls.map(|tls| self.identified(tls)).transpose());
        let picker = told_apart(Cluster { tls, ..Cluster::clone(&picker) });
        let kind =
            PickerKind::External { cluster: self.held(picker), failure_mode: *failure_mode, timeout: *timeout, queues: *queues };
        Arc::new(Pool { picker: kind, ..Pool::clone(&pool) })
    }

    fn intern(&mut self, draft: Draft, traffic: &Traffic) -> ClusterId {
        self.add(|| Arc::new(draft.cluster(traffic)))
    }

    fn add(&mut self, cluster: impl FnOnce() -> Arc<Cluster>) -> ClusterId {
        if self.is_dry {
            return ClusterId(u32::MAX);
        }
        self.clusters.cluster_ids.cluster(cluster(), &mut self.used)
    }
}

/// TLS in the name of the endpoint, for requests whose `Host` is the client's and not the server's.
fn by_own_name(tls: Arc<UpstreamTls>) -> Arc<UpstreamTls> {
    if !tls.is_by_host {
        return tls;
    }
    let names = vec![San::Hostname(tls.sni.clone())];
    Arc::new(UpstreamTls { is_by_host: false, names, ..UpstreamTls::clone(&tls) })
}

/// Merges a BackendTLSPolicy, which names authorities and host, with a Backend's own settings, which keep all else.
fn beside_policy(policy: Arc<UpstreamTls>, own: Option<&UpstreamTls>) -> Arc<UpstreamTls> {
    let Some(own) = own else { return policy };
    Arc::new(UpstreamTls {
        client_certificate: own.client_certificate.clone(),
        min_version: own.min_version,
        max_version: own.max_version,
        ..UpstreamTls::clone(&policy)
    })
}
