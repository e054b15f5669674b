//! Requests that a URL of the configuration asks for: to the servers that the configuration names for it, or else to the URL's host.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderValue, Request, Uri, header, request::Builder, uri::PathAndQuery};
use pailou_snapshot::{Address, Protocol, Roots, Timeouts, TlsVersion, UpstreamTls};

use crate::{
    cluster::ClusterState,
    local_addresses::LocalAddresses,
    request_body::RequestBody,
    subrequest::{self, SubrequestError},
    tls::{ClientTls, TlsConfigError},
    upstream::{Destination, Exchange, SendFailure, Upstreams},
};

/// Reason why a URL's host gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UrlError {
    #[error("it is no URL that can be asked")]
    Url,
    #[error("{0}")]
    Send(#[from] Box<SendFailure>),
    #[error("{0}")]
    Server(#[from] SubrequestError),
    #[error("the URL asks for TLS, and the server that the policy names has none")]
    Clear,
    #[error("TLS cannot be had: {0}")]
    Tls(#[from] TlsConfigError),
}

/// Adds to a request what the URL says.
///
/// # Errors
/// The URL has no host, or what `request` has is not valid.
pub(crate) fn request(uri: &Uri, request: Builder) -> Result<Request<()>, UrlError> {
    let authority = uri.authority().ok_or(UrlError::Url)?;
    // Without a name and password that the URL may have.
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let request = request.uri(Uri::from(path)).header(header::HOST, host);
    request.header(header::USER_AGENT, HeaderValue::from_static("pailou")).body(()).map_err(|_| UrlError::Url)
}

/// Way of a request that a policy's URL asks for.
#[derive(Clone, Copy)]
pub(crate) struct UrlWay<'a> {
    /// One of the servers that the policy names; the URL's host where it names none.
    pub(crate) server: Option<&'a Arc<ClusterState>>,
    pub(crate) upstreams: &'a Upstreams,
    pub(crate) timeouts: &'a Timeouts,
    /// Whether the URL's host may be the machine itself.
    pub(crate) local_addresses: LocalAddresses,
}

/// Sends a request, made by `make` for each endpoint that is tried.
///
/// # Errors
/// The URL is not of HTTP or HTTPS, or asks for TLS that the server has not, or nobody can be reached.
pub(crate) async fn send(uri: &Uri, make: impl Fn() -> Request<RequestBody>, way: UrlWay<'_>) -> Result<Exchange, UrlError> {
    let UrlWay { server, upstreams, timeouts, local_addresses } = way;
    let is_https = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(UrlError::Url),
    };
    if let Some(cluster) = server {
        if is_https && matches!(cluster.current_settings().tls, Ok(None)) {
            return Err(UrlError::Clear);
        }
        return Ok(subrequest::send_over(cluster, upstreams, timeouts, |_| (make(), ()), || true).await?.0);
    }
    let host = uri.host().ok_or(UrlError::Url)?.trim_matches(['[', ']']);
    let tls = if is_https { Some(tls(host)?) } else { None };
    let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let address = match host.parse() {
        Ok(address) => Address::Socket(SocketAddr::new(address, port)),
        Err(_) => Address::Dns { host: host.into(), port },
    };
    let destination = Destination { tls: tls.as_ref(), local_addresses, ..Destination::new(&address, timeouts) };
    Ok(upstreams.send_request(&destination, make()).await?)
}

/// TLS in the name of a host, by the system's authorities.
fn tls(host: &str) -> Result<Arc<ClientTls>, TlsConfigError> {
    let settings = UpstreamTls {
        sni: host.into(),
        is_by_host: false,
        names: Vec::new(),
        roots: Roots::System,
        insecure_skip_verify: false,
        client_certificate: None,
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    };
    ClientTls::new(&settings, Protocol::Http1)
}
