//! A request, as an authorization server receives it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Version, header, uri::PathAndQuery};

/// A request that somebody is to consent to.
#[derive(Clone, Copy, Debug)]
pub struct AuthorizationRequest<'a> {
    /// The client's end of the connection.
    pub peer: SocketAddr,
    /// The gateway's.
    pub local: SocketAddr,
    /// Whether the client came by TLS.
    pub tls: bool,
    /// The method.
    pub method: &'a Method,
    /// The path and the query.
    pub path: &'a PathAndQuery,
    /// The host, as the client gave it.
    pub authority: &'a str,
    /// The HTTP version that the client speaks.
    pub version: Version,
    /// The headers. `Host` is not taken from them.
    pub headers: &'a HeaderMap,
    /// The request's id.
    pub id: &'a str,
    /// The body, if the policy sends it.
    pub body: Option<&'a Bytes>,
}

impl<'a> AuthorizationRequest<'a> {
    /// The scheme that the client used.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// A header's value as text: several are joined as one (RFC 9110, 5.3; cookies by RFC 6265, 5.4).
    pub(crate) fn text(&self, name: &HeaderName) -> Option<String> {
        let values: Vec<_> = self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let separator = if name == header::COOKIE { "; " } else { "," };
        (!values.is_empty()).then(|| values.join(separator))
    }

    /// The names of its headers, each once, but for the host's.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a HeaderName> + use<'a> {
        self.headers.keys().filter(|name| *name != header::HOST)
    }
}
