//! A request as it goes to a backend: made once, copied for each attempt.

use std::{borrow::Cow, net::SocketAddr};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::PathAndQuery};
use pailou_ai::Pieces;
use pailou_extproc::client::EndpointRequest;
use pailou_snapshot::{Address, Credential, HeaderEdit, HostRewrite};

use super::Chosen;
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
    method: Method,
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
        // Matching is over: the client's headers become the backend's.
        let mut edited = std::mem::take(&mut head.parts.headers);
        let trusted = request_head::comes_by_trusted_proxy(route.policy, route.client, connection);
        if headers::forwarded(&mut edited, &connection.peer_ip, connection.tls.is_some(), trusted) > MAX_HOPS {
            let error = Error::new(Flag::BadRequest, "the request goes in circles: it has passed more than 100 proxies");
            return Err(Error { status: StatusCode::LOOP_DETECTED, ..error });
        }
        // A client does not decide where its request goes.
        if headers::any(&edited, |name| name.starts_with(headers::ENDPOINT.as_str())) {
            edited.remove(headers::ENDPOINT);
            edited.remove(headers::SUBSET);
        }
        // Tokens and the first content are read from a model's response as it passes, and its name for the model may be changed.
        if matches!(head.audience, Audience::Model(_)) && edited.contains_key(header::ACCEPT_ENCODING) {
            edited.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let edits = [&rule.request_headers, &own.request_headers];
        let mut response_edits = None;
        let responses = [&own.response_headers, &rule.response_headers];
        if edits.into_iter().chain(responses).flatten().any(|edit| !edit.templates.is_empty()) {
            let facts = RequestFacts::of(head, connection, Some(&route.entry.rule.route));
            edits.into_iter().flatten().for_each(|edit| facts.edit_request(&mut edited, edit));
            let resolved = responses.into_iter().flatten().map(|edit| facts.resolve_edit(edit, &edited).into_owned());
            response_edits = Some(resolved.collect());
        } else {
            edits.into_iter().flatten().for_each(|edit| headers::edit(&mut edited, edit));
        }
        let subset = if edits.iter().any(|edit| edit.is_some()) { edited.remove(headers::SUBSET) } else { None };
        let mut path = Cow::Borrowed(head.parts.uri.path());
        let mut authority: Cow<'_, str> = Cow::Borrowed(&head.authority);
        let mut host_of_endpoint = false;
        let mut rewritten = false;
        let rewrite_of = |pick: fn(&pailou_snapshot::Rewrite) -> bool| {
            [&own.rewrite, &rule.rewrite].into_iter().flatten().find(|rewrite| pick(rewrite))
        };
        if let Some(change) = rewrite_of(|rewrite| rewrite.path.is_some()).and_then(|rewrite| rewrite.path.as_ref()) {
            path = Cow::Owned(rewrite::path(change, &route.entry.path, &path).into_owned());
        }
        if let Some(change) = rewrite_of(|rewrite| rewrite.host.is_some()).and_then(|rewrite| rewrite.host.as_ref()) {
            let name = match change {
                HostRewrite::Name(name) => name.to_str().ok(),
                HostRewrite::Header(name) => edited.get(name).and_then(|value| value.to_str().ok()),
                HostRewrite::Backend => {
                    (host_of_endpoint, rewritten) = (true, true);
                    None
                }
            };
            if let Some(name) = name {
                (authority, rewritten) = (Cow::Owned(name.to_owned()), true);
            }
        }
        if rewritten {
            headers::append(&mut edited, headers::FORWARDED_HOST, &head.authority);
        }
        edited.remove(header::HOST);
        if is_read {
            // Its length may change with the model's name; the one that is sent says its own.
            edited.remove(header::CONTENT_LENGTH);
        }
        let path = match &path {
            Cow::Borrowed(_) => head.parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
            Cow::Owned(path) => {
                rewrite::with_path(&head.parts.uri, path).ok_or_else(|| Error::misconfigured("the rewritten path is not valid"))?
            }
        };
        let host = HeaderValue::from_str(&authority).map_err(|_| not_a_host())?;
        let credentials = rule.credentials.iter().chain(&own.credentials).cloned().collect();
        let method = head.parts.method.clone();
        Ok(Self { method, path, host, host_of_endpoint, headers: edited, subset, credentials, response_edits })
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

/// The request's id, made where the client gave none.
pub(super) fn request_id(map: &mut HeaderMap) -> Box<str> {
    if let Some(id) = map.get(headers::REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty() && id.len() <= 128) {
        return id.into();
    }
    let id = uuid(fastrand::u128(..));
    if let Ok(value) = HeaderValue::from_bytes(&id) {
        map.insert(headers::REQUEST_ID, value);
    }
    str::from_utf8(&id).unwrap_or_default().into()
}

/// Random bits in the form of a version 4 UUID (RFC 9562, 5.4), which many tools expect.
fn uuid(random: u128) -> [u8; 36] {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let bits = random & !VERSION & !VARIANT | 4 << 76 | 0b10 << 62;
    let mut text = [b'-'; 36];
    let mut place = 0;
    for byte in bits.to_be_bytes() {
        for digit in [byte >> 4, byte & 0xf] {
            text[place] = b"0123456789abcdef"[usize::from(digit)];
            place += 1;
        }
        // A dash is there already.
        place += usize::from(matches!(place, 8 | 13 | 18 | 23));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_version_4_uuid() {
        assert_eq!(&uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), b"01234567-89ab-4def-8123-456789abcdef");
        assert_eq!(&uuid(u128::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
