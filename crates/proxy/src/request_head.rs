//! The head of a request, read once: who is asked, for what, by whom.

mod authority;

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, StatusCode, Version, header, request::Parts, uri::PathAndQuery};
use pailou_http1::is_chunked_only;
use pailou_snapshot::{
    Body, ClientAddress, ClientPolicy, EscapedSlashes, NormalPath, PathError, PathNormalization, RequestView, normalize_host,
    normalize_path,
};

use crate::{
    error::{Audience, Error, Flag},
    headers, rewrite,
    worker::Connection,
};

/// A request's head, cleaned of what belongs to the hop or to the gateway.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) parts: Parts,
    /// The host, in lower case and without port.
    pub(crate) host: Box<str>,
    /// Host that the client gave, for `Host` and `X-Forwarded-Host`.
    pub(crate) authority: Box<str>,
    /// The protocol an HTTP/1.1 client asks to upgrade to.
    pub(crate) upgrade: Option<HeaderValue>,
    pub(crate) audience: Audience,
    /// Kinds of headers that the client sent.
    pub(crate) survey: headers::Survey,
}

impl Head {
    /// Reads the head.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(crate) fn read(mut parts: Parts) -> Result<Self, Error> {
        let authority = Self::check(&mut parts)?;
        Ok(Self::new(parts, authority))
    }

    /// Checks what a head has to have, joins what came on several lines, and gives the host that the client asked for.
    ///
    /// # Errors
    /// 400 where the host is missing or ambiguous, or the length is, 501 for a tunnel and for a body in a transfer coding that is not understood.
    pub(crate) fn check(parts: &mut Parts) -> Result<Box<str>, Error> {
        only_chunked(&parts.headers)?;
        if parts.headers.len() > parts.headers.keys_len() {
            // Something is said on several lines.
            one_length(&parts.headers)?;
            join_cookies(&mut parts.headers);
        }
        let authority = authority::authority(parts)?;
        authority::target(parts)?;
        Ok(authority)
    }

    /// The head of a request that [`Self::check`] found fit.
    pub(crate) fn new(mut parts: Parts, authority: Box<str>) -> Self {
        let host = normalize_host(&authority).into();
        // Clients that could speak HTTP/2 offer `h2c` with an ordinary request, Java's by default. A server may pass it over (RFC 9110,
        // 7.8), and RFC 9113 has given it up.
        let survey = headers::Survey::of(&parts.headers);
        let upgrade = if survey.of_one_hop { headers::strip_hop_by_hop(&mut parts.headers) } else { None };
        let upgrade =
            upgrade.filter(|protocol| parts.version == Version::HTTP_11 && !protocol.as_bytes().eq_ignore_ascii_case(b"h2c"));
        if survey.gateways {
            parts.headers.remove(headers::MODEL_NAME);
            parts.headers.remove(headers::BASE_MODEL_NAME);
            // The body is asked for when it is read, and passed on as it comes.
            parts.headers.remove(header::EXPECT);
        }
        let audience = Audience::of(parts.uri.path(), &parts.headers);
        Self { host, authority, upgrade, audience, survey, parts }
    }

    /// Normalises the path as a listener asks, before anything is matched against it. Gives the location that the client is to be sent to
    /// instead, where the listener has clients use the normal path themselves.
    ///
    /// # Errors
    /// 400 for a path that is refused.
    pub(crate) fn normalize_path(&mut self, settings: PathNormalization) -> Result<Option<HeaderValue>, Error> {
        let before = self.parts.uri.path();
        let NormalPath { path, is_unescaped } = normalize_path(before, settings).map_err(refused_path)?;
        if *path == *before {
            return Ok(None);
        }
        let invalid = || Error::new(Flag::BadRequest, "the path is not valid");
        let path = rewrite::with_path(&self.parts.uri, &path).ok_or_else(invalid)?;
        if is_unescaped && settings.escaped_slashes == EscapedSlashes::Redirect {
            // Two slashes would begin with another host's name.
            let location = Some(path.as_str()).filter(|path| !path.starts_with("//"));
            return location.and_then(|path| HeaderValue::from_str(path).ok()).ok_or_else(invalid).map(Some);
        }
        self.set_path(path);
        Ok(None)
    }

    /// Replaces path and query.
    pub(crate) fn set_path(&mut self, path: PathAndQuery) {
        self.parts.uri = path.into();
        self.audience = Audience::of(self.parts.uri.path(), &self.parts.headers);
    }

    /// Parts that decide the match.
    pub(crate) fn view<'a>(&'a self, body: Body<'a>) -> RequestView<'a> {
        RequestView {
            host: &self.host,
            method: &self.parts.method,
            path: self.parts.uri.path(),
            query: self.parts.uri.query().unwrap_or(""),
            headers: &self.parts.headers,
            body,
        }
    }

    /// The value of a header, where it is text.
    pub(crate) fn text(&self, name: &http::HeaderName) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The client's address, as the listener finds it.
///
/// # Errors
/// 403 where a required header does not hold one.
pub(crate) fn client_address(policy: &ClientPolicy, headers: &HeaderMap, connection: &Connection) -> Result<IpAddr, Error> {
    let peer = connection.peer.ip();
    match &policy.client_address {
        ClientAddress::Connection => Ok(peer),
        ClientAddress::TrustedHops(hops) => Ok(from_the_right(headers).nth(hops.saturating_sub(1) as usize).unwrap_or(peer)),
        ClientAddress::TrustedNetworks(networks) => {
            let trusted = |address: &IpAddr| networks.iter().any(|network| network.contains(*address));
            if !trusted(&peer) {
                return Ok(peer);
            }
            Ok(from_the_right(headers).find(|address| !trusted(address)).unwrap_or(peer))
        }
        ClientAddress::Header { name, required } => {
            match headers.get(name).and_then(|value| value.to_str().ok()).and_then(|value| value.trim().parse().ok()) {
                Some(address) => Ok(address),
                None if *required => Err(Error::new(Flag::Forbidden, "the client's address is not known")),
                None => Ok(peer),
            }
        }
    }
}

/// Whether a request came by a proxy that the listener trusts.
pub(crate) fn comes_by_trusted_proxy(policy: &ClientPolicy, client: IpAddr, connection: &Connection) -> bool {
    matches!(policy.client_address, ClientAddress::TrustedHops(1..) | ClientAddress::TrustedNetworks(_))
        && client != connection.peer.ip()
}

/// The scheme that a client came by: a proxy's word, if the listener trusts it.
pub(crate) fn scheme(policy: &ClientPolicy, map: &HeaderMap, client: IpAddr, connection: &Connection) -> &'static str {
    let own = if connection.tls.is_some() { "https" } else { "http" };
    if !comes_by_trusted_proxy(policy, client, connection) {
        return own;
    }
    match map.get(headers::FORWARDED_PROTO).map(HeaderValue::as_bytes) {
        Some(b"https") => "https",
        Some(b"http") => "http",
        _ => own,
    }
}

fn from_the_right(headers: &HeaderMap) -> impl Iterator<Item = IpAddr> {
    let lines = headers.get_all(headers::FORWARDED_FOR).iter().rev().filter_map(|value| value.to_str().ok());
    // Past an entry that is no address nothing can be trusted.
    lines.flat_map(|line| line.rsplit(',')).map_while(|entry| entry.trim().parse().ok())
}

/// Makes one cookie of the crumbs that HTTP/2 clients may send (RFC 9113, 8.2.3): elsewhere a second line counts for nothing.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (crumbs.next(), crumbs.next()) else { return };
    let mut cookie = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        cookie.extend_from_slice(b"; ");
        cookie.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        headers.insert(header::COOKIE, cookie);
    }
}

/// Refuses a body of several lengths, of which HTTP/2 only checks the first against what comes. (HTTP/1.1 has refused it before.)
fn one_length(headers: &HeaderMap) -> Result<(), Error> {
    match headers.get_all(header::CONTENT_LENGTH).iter().nth(1) {
        None => Ok(()),
        Some(_) => Err(Error::new(Flag::BadRequest, "more than one Content-Length")),
    }
}

/// Refuses bodies that are coded further beneath their chunks: passed on without the header, they would be taken for plain
/// (RFC 9112, 6.1).
fn only_chunked(headers: &HeaderMap) -> Result<(), Error> {
    if !headers.contains_key(header::TRANSFER_ENCODING) || is_chunked_only(headers) {
        return Ok(());
    }
    let error = Error::new(Flag::BadRequest, "no Transfer-Encoding but chunked is understood");
    Err(Error { status: StatusCode::NOT_IMPLEMENTED, ..error })
}

fn refused_path(error: PathError) -> Error {
    let message = match error {
        PathError::Climbs => "the path climbs above its root",
        PathError::EscapedSlash => "the path has escaped slashes, which are not allowed here",
        PathError::Null => "the path has a null byte",
    };
    Error::new(Flag::BadRequest, message)
}
