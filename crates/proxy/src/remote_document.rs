//! Documents that the gateway fetches from a URL: from the servers that the configuration names, or else from the URL's host.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Limited};
use pailou_snapshot::{Address, Protocol, RemoteDocument, Roots, Timeouts, TlsVersion, UpstreamTls};
use tokio::time::timeout;

use crate::{
    cluster::ClusterState,
    dns::Dns,
    request_body::RequestBody,
    subrequest::{self, SubrequestError},
    tls::{ClientTls, TlsConfigError},
    upstream::{Destination, Exchange, SendFailure, Upstreams},
};

/// Time for a fetch: Envoy Gateway's.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest document, in bytes.
const MAX_DOCUMENT: usize = 1 << 20;

/// Reason why a document cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("there was no answer within {} s", FETCH_TIMEOUT.as_secs())]
    Late,
    #[error("it is no URL that can be asked")]
    Url,
    #[error("{0}")]
    Subrequest(#[from] SubrequestError),
    #[error("{0}")]
    Send(#[from] Box<SendFailure>),
    #[error("TLS cannot be had: {0}")]
    Tls(#[from] TlsConfigError),
    #[error("the answer was {0}, and not 200")]
    Status(StatusCode),
    #[error("the answer broke off, or is longer than {MAX_DOCUMENT} bytes: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// Fetches a document, once. `clusters` are its servers by weight; none means the URL's host. A redirect is not followed.
///
/// # Errors
/// The reason why there is none.
pub(crate) async fn fetch(
    document: &RemoteDocument,
    clusters: &[(u32, Arc<ClusterState>)],
    dns: &Dns,
) -> Result<Bytes, FetchError> {
    timeout(FETCH_TIMEOUT, fetch_slowly(document, clusters, dns)).await.unwrap_or(Err(FetchError::Late))
}

async fn fetch_slowly(document: &RemoteDocument, clusters: &[(u32, Arc<ClusterState>)], dns: &Dns) -> Result<Bytes, FetchError> {
    let uri: Uri = document.uri.parse().map_err(|_| FetchError::Url)?;
    let request = request(&uri)?;
    let made = || request.clone().map(|()| RequestBody::empty());
    // No connection is kept from one fetch to the next.
    let upstreams = Upstreams::new(dns.clone());
    let timeouts = Timeouts { connect: document.connect_timeout, ..Timeouts::default() };
    let Exchange { response, .. } = match subrequest::choose(clusters) {
        Some(cluster) => subrequest::send_over(cluster, &upstreams, &timeouts, |_| (made(), ())).await?.0,
        None => send_to_host(&uri, made(), &upstreams, &timeouts).await?,
    };
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await.map_err(FetchError::Body)?;
    Ok(body.to_bytes())
}

fn request(uri: &Uri) -> Result<Request<()>, FetchError> {
    let authority = uri.authority().ok_or(FetchError::Url)?;
    // Without a name and password that the URL may have.
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    Request::builder()
        .method(Method::GET)
        .uri(Uri::from(path))
        .header(header::HOST, host)
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .header(header::USER_AGENT, HeaderValue::from_static("pailou"))
        .body(())
        .map_err(|_| FetchError::Url)
}

async fn send_to_host(
    uri: &Uri,
    request: Request<RequestBody>,
    upstreams: &Upstreams,
    timeouts: &Timeouts,
) -> Result<Exchange, FetchError> {
    let host = uri.host().ok_or(FetchError::Url)?.trim_matches(['[', ']']);
    let tls = match uri.scheme_str() {
        Some("http") => None,
        Some("https") => Some(tls(host)?),
        _ => return Err(FetchError::Url),
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
