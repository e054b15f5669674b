//! One listener: whether it can be served, and what may attach to it.

use std::sync::Arc;

use http::HeaderName;
use rustls::sign::CertifiedKey;

use crate::status::{Condition, GroupKind, ListenerStatus, Problem};
use pailou_api::{
    Kind, LabelSelector,
    listener::{Listener as Spec, TlsMode},
    references::Reference,
    refs::{FromNamespaces, GATEWAY_GROUP, SecretObjectReference},
};
use pailou_snapshot::{
    ClientCertificates, ClientPolicy, GeoSources, HostPattern, HttpFilter, ListenerAccessLog, ListenerName, ListenerTracing,
    RouteKind,
};

use super::{
    grants::Referrer,
    ids::ListenerSetId,
    index::Index,
    listener_protocol::ListenerProtocol,
    wrong_kind::{self, Named},
};

/// A listener on its way into the snapshot.
pub(crate) struct ListenerState<'a> {
    pub(crate) spec: &'a Spec,
    /// The Gateway or ListenerSet that has it.
    pub(crate) owner: Referrer<'a>,
    /// The ListenerSet; `None` for the Gateway's own.
    pub(crate) set: Option<ListenerSetId>,
    pub(crate) name: ListenerName,
    /// Its protocol; `None` if no listener can serve it.
    pub(crate) protocol: Option<ListenerProtocol>,
    pub(crate) hostname: Option<HostPattern>,
    pub(crate) kinds: Vec<RouteKind>,
    pub(crate) certificates: Vec<Arc<CertifiedKey>>,
    /// Demands on its clients' certificates.
    pub(crate) client_certificates: Option<ClientCertificates>,
    pub(crate) client: Arc<ClientPolicy>,
    /// Filters before routing.
    pub(crate) filters: Vec<HttpFilter>,
    /// Headers that authentication puts identities into.
    pub(crate) identity_headers: Arc<[HeaderName]>,
    /// Databases of the places of addresses.
    pub(crate) geo: Option<Arc<GeoSources>>,
    /// Traces of its requests.
    pub(crate) tracing: ListenerTracing,
    /// Access log of its requests.
    pub(crate) access_log: ListenerAccessLog,
    /// Its problems, by condition.
    pub(crate) problems: Vec<Problem>,
    /// Routes accepted on it.
    pub(crate) attached: u32,
}

impl<'a> ListenerState<'a> {
    /// Judges a listener by itself.
    pub(crate) fn new(index: &Index<'_>, spec: &'a Spec, owner: Referrer<'a>, name: ListenerName) -> Self {
        let mut problems = Vec::new();
        let protocol = ListenerProtocol::of(spec);
        if protocol.is_none() {
            let message = format!("protocol {} is not supported: use HTTP, HTTPS, TLS, TCP or UDP", spec.protocol.as_str());
            problems.push(Problem::accepted("UnsupportedProtocol", message));
        }
        check_filters(spec, protocol, &mut problems);
        let kinds = protocol.map(|protocol| route_kinds(spec, protocol.kinds(), &mut problems)).unwrap_or_default();
        let certificates = match protocol {
            Some(protocol) if protocol.terminates_tls() => certificates(index, spec, owner, &mut problems),
            _ => Vec::new(),
        };
        Self {
            spec,
            owner,
            set: None,
            name,
            protocol,
            hostname: spec.hostname.as_deref().map(HostPattern::new),
            kinds,
            certificates,
            client_certificates: None,
            client: Arc::default(),
            filters: Vec::new(),
            identity_headers: Arc::default(),
            geo: None,
            tracing: ListenerTracing::default(),
            access_log: ListenerAccessLog::default(),
            problems,
            attached: 0,
        }
    }

    /// Whether routes may attach: it is a listener that this gateway can be, and no other one's double.
    pub(crate) fn is_accepted(&self) -> bool {
        !self.problems.iter().any(|problem| problem.condition != "ResolvedRefs" && problem.condition != "Programmed")
    }

    /// Whether it has all that it takes to be served.
    pub(crate) fn is_valid(&self) -> bool {
        let has_certificates = !self.protocol.is_some_and(ListenerProtocol::terminates_tls) || !self.certificates.is_empty();
        // The listener's owner relies on a filter before routing: without it the gateway serves nothing.
        let secured = has_certificates && self.filters.len() == self.spec.filters.requests.len();
        self.is_accepted() && secured
    }

    /// Whether it is served: nothing keeps it from its port either.
    pub(crate) fn is_servable(&self) -> bool {
        self.is_valid() && !self.problems.iter().any(|problem| problem.condition == "Programmed")
    }

    /// Whether routes of a namespace may attach.
    pub(crate) fn admits(&self, index: &Index<'_>, namespace: &str) -> bool {
        let allowed = &self.spec.allowed_routes.namespaces;
        in_namespaces(index, allowed.from, allowed.selector.as_ref(), self.owner.namespace, namespace)
    }

    /// Its status; `withheld` says why none of its Gateway's listeners is served, with the reason for `Programmed`.
    pub(crate) fn status(&self, withheld: Option<(&'static str, &str)>, generation: i64) -> ListenerStatus {
        let conflict = self.problems.iter().find(|problem| problem.condition == "Conflicted");
        let conflicted = match conflict {
            Some(problem) => Condition::holds("Conflicted", problem.reason, problem.message.clone(), generation),
            None => Condition::fails("Conflicted", "NoConflicts", "", generation),
        };
        let accepted = match conflict {
            Some(problem) => Condition::fails("Accepted", problem.reason, problem.message.clone(), generation),
            None => Condition::summary("Accepted", &self.problems, generation),
        };
        let programmed = if self.is_servable() {
            match withheld {
                Some((reason, message)) => Condition::fails("Programmed", reason, message, generation),
                None => Condition::fine("Programmed", generation),
            }
        } else if self.problems.iter().any(|problem| problem.condition == "Programmed") {
            Condition::summary("Programmed", &self.problems, generation)
        } else if let Some(problem) = conflict {
            Condition::fails("Programmed", problem.reason, problem.message.clone(), generation)
        } else {
            Condition::fails("Programmed", "Invalid", "the listener is not served: see its other conditions", generation)
        };
        let resolved = Condition::summary("ResolvedRefs", &self.problems, generation);
        ListenerStatus {
            name: self.spec.name.to_string(),
            supported_kinds: self.kinds.iter().map(|kind| group_kind(*kind)).collect(),
            attached_routes: self.attached,
            conditions: vec![accepted, conflicted, programmed, resolved],
        }
    }
}

/// Whether `namespace` is among those that an object in `own` allows.
pub(crate) fn in_namespaces(
    index: &Index<'_>,
    from: FromNamespaces,
    selector: Option<&LabelSelector>,
    own: &str,
    namespace: &str,
) -> bool {
    match from {
        FromNamespaces::All => true,
        FromNamespaces::Same => own == namespace,
        FromNamespaces::Selector => selector.is_some_and(|selector| selector.matches(&index.namespace_labels(namespace))),
        FromNamespaces::None => false,
    }
}

/// A kind of route as conditions name it.
pub(crate) fn kind_name(kind: RouteKind) -> &'static str {
    match kind {
        RouteKind::Http => "HTTPRoute",
        RouteKind::Grpc => "GRPCRoute",
        RouteKind::Tls => "TLSRoute",
        RouteKind::Tcp => "TCPRoute",
        RouteKind::Udp => "UDPRoute",
    }
}

fn group_kind(kind: RouteKind) -> GroupKind {
    GroupKind { group: GATEWAY_GROUP, kind: kind_name(kind) }
}

/// Filters that are not what this gateway has, or where there are no requests.
fn check_filters(spec: &Spec, protocol: Option<ListenerProtocol>, problems: &mut Vec<Problem>) {
    for (place, filter) in spec.filters.requests.iter().enumerate() {
        let (reason, what) = match (&*filter.kind, &filter.external_auth) {
            _ if protocol.is_some_and(|protocol| !protocol.is_http()) => {
                ("InvalidListenerFilter", "only HTTP and HTTPS have requests")
            }
            ("ExternalAuth", Some(_)) => continue,
            ("ExternalAuth", None) => ("InvalidListenerFilter", "ExternalAuth needs the field externalAuth"),
            ("ExtensionRef", _) => ("UnsupportedValue", "ExtensionRef is not supported on a listener: remove it"),
            _ => ("UnsupportedValue", "there is no such type of filter on a listener: use ExternalAuth"),
        };
        problems.push(Problem::accepted(reason, format!("filters.requests[{place}]: {what}")));
    }
}

fn route_kinds(spec: &Spec, known: &[RouteKind], problems: &mut Vec<Problem>) -> Vec<RouteKind> {
    if spec.allowed_routes.kinds.is_empty() {
        return known.to_vec();
    }
    let mut kinds = Vec::new();
    for asked in &spec.allowed_routes.kinds {
        match known.iter().copied().find(|kind| asked.group == GATEWAY_GROUP && asked.kind == kind_name(*kind)) {
            Some(kind) if !kinds.contains(&kind) => kinds.push(kind),
            Some(_) => {}
            None => {
                let message = format!(
                    "allowedRoutes.kinds: {} cannot attach to a listener of protocol {}: use {}",
                    asked.kind,
                    spec.protocol.as_str(),
                    known.iter().map(|kind| kind_name(*kind)).collect::<Vec<_>>().join(" or ")
                );
                problems.push(Problem::refs("InvalidRouteKinds", message));
            }
        }
    }
    kinds
}

fn certificates(index: &Index<'_>, spec: &Spec, from: Referrer<'_>, problems: &mut Vec<Problem>) -> Vec<Arc<CertifiedKey>> {
    let Some(tls) = &spec.tls else {
        let message = format!("a listener of protocol {} needs tls.certificateRefs", spec.protocol.as_str());
        problems.push(Problem::refs("InvalidCertificateRef", message));
        return Vec::new();
    };
    if tls.mode == TlsMode::Passthrough {
        let message = "tls.mode: a listener of protocol HTTPS cannot be Passthrough: use Terminate";
        problems.push(Problem::accepted("UnsupportedValue", message));
        return Vec::new();
    }
    if tls.certificate_refs.is_empty() {
        problems
            .push(Problem::refs("InvalidCertificateRef", "tls.certificateRefs is empty: name a Secret of type kubernetes.io/tls"));
    }
    let mut certificates = Vec::new();
    for reference in &tls.certificate_refs {
        match certificate(index, reference, from) {
            Ok(certificate) => certificates.push(certificate),
            Err(problem) => problems.push(problem),
        }
    }
    certificates
}

/// The certificate that a reference leads to.
pub(crate) fn certificate(index: &Index<'_>, to: &SecretObjectReference, from: Referrer<'_>) -> Result<Arc<CertifiedKey>, Problem> {
    let invalid = |message: String| Problem::refs("InvalidCertificateRef", message);
    let Some(reference) = Reference::secret(from, to) else {
        let named = Named { group: &to.group, kind: &to.kind, name: &to.name };
        return Err(invalid(wrong_kind::message(named, &[Kind::Secret])));
    };
    let namespace = reference.to.namespace;
    let secret =
        index.secret(reference)?.ok_or_else(|| invalid(format!("there is no Secret {} in namespace {namespace}", to.name)))?;
    index.parsed.certified_key(secret).map_err(|error| invalid(format!("Secret {namespace}/{} {error}", to.name)))
}
