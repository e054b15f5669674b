//! Documents that the gateway fetches from a URL: from the servers that the configuration names, or else from the URL's host.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use pailou_snapshot::{RemoteDocument, Timeouts};
use tokio::time::timeout;

use crate::{
    cluster::ClusterState,
    dns::Dns,
    request_body::RequestBody,
    subrequest::{self, SubrequestError},
    upstream::{Exchange, Upstreams},
    url_host::{self, UrlError},
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
    #[error("{0}")]
    Host(#[from] UrlError),
    #[error("{0}")]
    Subrequest(#[from] SubrequestError),
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
    let uri: Uri = document.uri.parse().map_err(|_| UrlError::Url)?;
    let request = url_host::request(&uri, Request::builder().method(Method::GET).header(header::ACCEPT, "application/json"))?;
    let made = || request.clone().map(|()| RequestBody::empty());
    // No connection is kept from one fetch to the next.
    let upstreams = Upstreams::new(dns.clone());
    let timeouts = Timeouts { connect: document.connect_timeout, ..Timeouts::default() };
    let Exchange { response, .. } = match subrequest::choose(clusters) {
        Some(cluster) => subrequest::send_over(cluster, &upstreams, &timeouts, |_| (made(), ())).await?.0,
        None => url_host::send(&uri, made(), &upstreams, &timeouts).await?,
    };
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await.map_err(FetchError::Body)?;
    Ok(body.to_bytes())
}
