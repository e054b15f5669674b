//! A request as it goes to a backend: made once, copied for each attempt.

use std::{borrow::Cow, net::SocketAddr};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use pailou_ai::{Dialect, Pieces};
use pailou_extproc::client::EndpointRequest;
use pailou_snapshot::{Address, Credential, HeaderEdit, HostRewrite, RouteKind};

use super::{Chosen, client_headers::Configured, envoy_headers};
use crate::{
    breaker::Permit,
    credential,
    error::{Audience, Error, Flag},
    headers,
    request_head::{self, Head},
    rewrite,
    template::RequestFacts,
    upstream::RequestHead,
    worker::Connection,
};

/// Proxies that a request may have passed. A backend that leads back here would otherwise multiply one request until its head is
/// too large, and every pass is held until then.
const MAX_HOPS: usize = 100;

/// The request that every attempt sends, without its body.
#[derive(Clone)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    path: PathAndQuery,
    host: HeaderValue,
    /// The endpoint's own name is to be the host instead.
    host_of_endpoint: bool,
    pub(super) headers: HeaderMap,
    /// The only endpoints of a pool that are eligible, where a filter says so.
    subset: Option<HeaderValue>,
    /// Put in last, at each attempt, and never into a mirror's copy.
    credentials: Vec<Credential>,
    /// Edits of the response's headers, where they name something of the request.
    pub(super) response_edits: Option<Vec<HeaderEdit>>,
    /// Dialect of a model call: of the client's path, else of the backend's, where a rewrite makes it one.
    pub(super) dialect: Option<Dialect>,
}

impl Outgoing {
    /// Applies the rule's edits and then the backendRef's own to the head of a request that holds its place at the breaker, and
    /// whose body `is_read` or streams through.
    pub(super) fn new(
        route: &Chosen<'_>,
        _: &Permit,
        head: &mut Head,
        connection: &Connection,
        is_read: bool,
    ) -> Result<Self, Error> {
        let (rule, own) = (&route.entry.rule.filters, &route.backend.filters);
        let (path, method) = (path(route, head)?, head.parts.method.clone());
        let dialect = dialect(route, head, &path);
        // Matching is over: the client's headers become the backend's.
        let mut edited = std::mem::take(&mut head.parts.headers);
        let trusted = request_head::comes_by_trusted_proxy(route.policy, route.client, connection);
        let peer = route.policy.appends_forwarded_for.then_some(&connection.peer_ip);
        if headers::forwarded(&mut edited, peer, connection.tls.is_some(), trusted) > MAX_HOPS {
            let error = Error::new(Flag::BadRequest, "the request goes in circles: it has passed more than 100 proxies");
            return Err(Error { status: StatusCode::LOOP_DETECTED, ..error });
        }
        // A client does not decide where its request goes.
        let is_picked = |name: &str| {
            name.starts_with('x')
                && (name.starts_with(headers::ENDPOINT.as_str())
                    || headers::DATA_PARALLEL_RANK == name
                    || headers::SIDECAR_HEADERS.contains(&name))
        };
        if headers::any(&edited, is_picked) {
            edited.remove(headers::ENDPOINT);
            edited.remove(headers::SUBSET);
            edited.remove(headers::DATA_PARALLEL_RANK);
            headers::SIDECAR_HEADERS.into_iter().for_each(|name| drop(edited.remove(name)));
        }
        // Tokens and the first content are read from a model's response as it passes, and its name for the model may be changed.
        if (dialect.is_some() || route.counts_tokens) && edited.contains_key(header::ACCEPT_ENCODING) {
            edited.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let edits = [&rule.request_headers, &own.request_headers];
        let host_rewrite = [&own.rewrite, &rule.rewrite].into_iter().flatten().find_map(|rewrite| rewrite.host.as_ref());
        // Before the edits, which may remove it again.
        if host_rewrite.is_some_and(|change| replaces_host(change, &edited, &edits)) {
            headers::append(&mut edited, headers::FORWARDED_HOST, &head.authority);
        }
        if route.policy.envoy_headers {
            envoy_headers::request(&mut edited, head.parts.uri.path_and_query(), &path, &route.entry.rule.policy.timeouts);
        }
        let response_edits = edit(route, head, connection, &mut edited);
        let subset = if edits.iter().any(|edit| edit.is_some()) { edited.remove(headers::SUBSET) } else { None };
        let credentials: Vec<Credential> = rule.credentials.iter().chain(&own.credentials).cloned().collect();
        let configured = Configured { credentials: &credentials, edits: [&route.policy.early_request_headers, edits[0], edits[1]] };
        configured.remove_credentials(&mut edited);
        if head.survey.underscores {
            configured.remove_twins(&mut edited);
        }
        edited.remove(header::HOST);
        if is_read {
            // Its length may change with the model's name; the one that is sent says its own.
            edited.remove(header::CONTENT_LENGTH);
        }
        let host_of_endpoint = matches!(host_rewrite, Some(HostRewrite::Backend));
        let host = host(host_rewrite, &edited, &head.authority)?;
        Ok(Self { method, path, host, host_of_endpoint, headers: edited, subset, credentials, response_edits, dialect })
    }

    /// Whether it may be sent again although a backend may have seen it: it is idempotent (RFC 9110, 9.2.2), or a model call, which
    /// changes nothing.
    pub(super) fn is_repeatable(&self) -> bool {
        self.method.is_idempotent() || self.dialect.is_some()
    }

    /// The copy that a mirror gets: without credentials of ours.
    pub(super) fn for_mirror(&self) -> Self {
        Self { credentials: Vec::new(), ..self.clone() }
    }

    /// The request as a pool's endpoint picker sees it.
    pub(super) fn endpoint_request(&self, tls: bool, body: Option<Pieces>, max_body: usize) -> EndpointRequest<'_> {
        EndpointRequest {
            method: &self.method,
            scheme: if tls { "https" } else { "http" },
            authority: self.host.to_str().unwrap_or_default(),
            path: self.path.as_str(),
            headers: &self.headers,
            body: body.map(|body| body.into_iter().collect()).unwrap_or_default(),
            subset: self.subset(),
            max_body,
        }
    }

    /// The only endpoints of a pool that are eligible, where a filter says so: a list of `ip` and `ip:port`.
    pub(super) fn subset(&self) -> Option<&str> {
        // An unreadable value lets nothing in.
        self.subset.as_ref().map(|subset| subset.to_str().unwrap_or(""))
    }

    /// The path that the backend sees, without query.
    pub(super) fn path(&self) -> &str {
        self.path.path()
    }

    /// The path that the backend sees, and the query.
    pub(super) fn path_and_query(&self) -> &PathAndQuery {
        &self.path
    }

    /// The URI's query, for hashing.
    pub(super) fn query(&self) -> &str {
        self.path.query().unwrap_or("")
    }

    /// The head of one attempt at an endpoint; `upgrade` is the protocol the client wants to switch to.
    ///
    /// # Errors
    /// 500 where a credential cannot be put in.
    pub(super) fn head(&self, endpoint: &Address, upgrade: Option<&HeaderValue>) -> Result<AttemptHead<'_>, Error> {
        let own = if self.host_of_endpoint { host_name(endpoint) } else { None };
        let host = match own.map(|own| HeaderValue::from_str(&own)) {
            None => Cow::Borrowed(&self.host),
            Some(own) => Cow::Owned(own.map_err(|_| not_a_host())?),
        };
        let mut headers = Cow::Borrowed(&self.headers);
        if !self.credentials.is_empty() {
            credential::inject(headers.to_mut(), &self.credentials).map_err(|failure| Error::misconfigured(&failure.0))?;
        }
        if let Some(upgrade) = upgrade {
            headers.to_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.to_mut().insert(header::UPGRADE, upgrade.clone());
        }
        Ok(AttemptHead { method: &self.method, target: &self.path, host, headers })
    }
}

/// The head of one attempt: what all have in common, copied only where the attempt has something of its own.
pub(super) struct AttemptHead<'a> {
    method: &'a Method,
    target: &'a PathAndQuery,
    host: Cow<'a, HeaderValue>,
    headers: Cow<'a, HeaderMap>,
}

impl AttemptHead<'_> {
    pub(super) fn borrowed(&self) -> RequestHead<'_> {
        RequestHead { method: self.method, target: self.target, host: &self.host, headers: &self.headers }
    }
}

/// Makes the rule's edits of a request, then those of the backendRef. Gives their edits of the response, where these name something of
/// the request.
fn edit(route: &Chosen<'_>, head: &Head, connection: &Connection, map: &mut HeaderMap) -> Option<Vec<HeaderEdit>> {
    let (rule, own) = (&route.entry.rule.filters, &route.backend.filters);
    let edits = [&rule.request_headers, &own.request_headers];
    let responses = [&own.response_headers, &rule.response_headers];
    if edits.into_iter().chain(responses).flatten().all(|edit| edit.templates.is_empty()) {
        edits.into_iter().flatten().for_each(|edit| headers::edit(map, edit));
        return None;
    }
    let facts = RequestFacts::of(head, connection, Some(&route.entry.rule.route));
    edits.into_iter().flatten().for_each(|edit| facts.edit_request(map, edit));
    Some(responses.into_iter().flatten().map(|edit| facts.resolve_edit(edit, map).into_owned()).collect())
}

/// Whether a rewrite will find the name of another host.
fn replaces_host(change: &HostRewrite, map: &HeaderMap, edits: &[&Option<HeaderEdit>]) -> bool {
    match change {
        HostRewrite::Name(_) | HostRewrite::Backend => true,
        HostRewrite::Header(name) => map.contains_key(name) || edits.iter().copied().flatten().any(|edit| edit.sets(name)),
    }
}

/// The host that the backend sees; where it is to see the endpoint's own name, that of an endpoint without.
fn host(change: Option<&HostRewrite>, map: &HeaderMap, authority: &str) -> Result<HeaderValue, Error> {
    let name = match change {
        Some(HostRewrite::Name(name)) => name.to_str().ok(),
        Some(HostRewrite::Header(name)) => map.get(name).and_then(|value| value.to_str().ok()),
        Some(HostRewrite::Backend) | None => None,
    };
    HeaderValue::from_str(name.unwrap_or(authority)).map_err(|_| not_a_host())
}

/// The path that the backend sees, and the query.
fn path(route: &Chosen<'_>, head: &Head) -> Result<PathAndQuery, Error> {
    let (rule, own) = (&route.entry.rule.filters, &route.backend.filters);
    let uri = &head.parts.uri;
    let Some(change) = [&own.rewrite, &rule.rewrite].into_iter().flatten().find_map(|rewrite| rewrite.path.as_ref()) else {
        return Ok(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    };
    let path = rewrite::path(change, &route.entry.path, uri.path());
    rewrite::with_path(uri, &path).ok_or_else(|| Error::misconfigured("the rewritten path is not valid"))
}

/// Dialect of a model call; `None` for other requests.
fn dialect(route: &Chosen<'_>, head: &Head, path: &PathAndQuery) -> Option<Dialect> {
    if route.entry.rule.route.kind == RouteKind::Grpc {
        return None;
    }
    let of = |audience| match audience {
        Audience::Model(dialect) => Some(dialect),
        Audience::Objects(_) | Audience::Grpc | Audience::GrpcWeb { .. } | Audience::Other => None,
    };
    of(head.audience).or_else(|| of(Audience::of(path.path(), &head.parts.headers)))
}

fn not_a_host() -> Error {
    Error::misconfigured("the rewritten host is not valid")
}

/// The host name of an endpoint; a Unix socket has none.
fn host_name(endpoint: &Address) -> Option<Cow<'_, str>> {
    match endpoint {
        Address::Dns { host, .. } => Some(Cow::Borrowed(host)),
        Address::Socket(SocketAddr::V4(address)) => Some(Cow::Owned(address.ip().to_string())),
        Address::Socket(SocketAddr::V6(address)) => Some(Cow::Owned(format!("[{}]", address.ip()))),
        Address::Unix(_) => None,
    }
}

/// Tells backends what the body names. A name that cannot stand in a header is left out, as a model that no rule can name.
pub(super) fn model_headers(map: &mut HeaderMap, model: Option<&str>, base_model: Option<&str>) {
    for (name, value) in [(headers::MODEL_NAME, model), (headers::BASE_MODEL_NAME, base_model)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok()) {
            map.insert(name, value);
        }
    }
}
