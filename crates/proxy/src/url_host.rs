//! Requests to the host of a URL, where the configuration names no servers for it.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderValue, Request, Uri, header, request::Builder, uri::PathAndQuery};
use pailou_snapshot::{Address, Protocol, Roots, Timeouts, TlsVersion, UpstreamTls};

use crate::{
    request_body::RequestBody,
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

/// Sends a request to the URL's host.
///
/// # Errors
/// The URL is not of HTTP or HTTPS, or the host cannot be reached.
pub(crate) async fn send(
    uri: &Uri,
    request: Request<RequestBody>,
    upstreams: &Upstreams,
    timeouts: &Timeouts,
) -> Result<Exchange, UrlError> {
    let host = uri.host().ok_or(UrlError::Url)?.trim_matches(['[', ']']);
    let tls = match uri.scheme_str() {
        Some("http") => None,
        Some("https") => Some(tls(host)?),
        _ => return Err(UrlError::Url),
    };
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let address = match host.parse() {
        Ok(address) => Address::Socket(SocketAddr::new(address, port)),
        Err(_) => Address::Dns { host: host.into(), port },
    };
    let destination = Destination { tls: tls.as_ref(), ..Destination::new(&address, timeouts) };
    Ok(upstreams.send_request(&destination, request).await?)
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
