//! Documents that the gateway fetches from a URL: from the servers that the configuration names, or else from the URL's host.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use pailou_snapshot::Timeouts;
use tokio::time::timeout;

use crate::{
    cluster::ClusterState,
    dns::Dns,
    local_addresses::LocalAddresses,
    request_body::RequestBody,
    subrequest,
    upstream::{Exchange, Upstreams},
    url_host::{self, UrlError, UrlWay},
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
    #[error("the answer was {0}, and not 200")]
    Status(StatusCode),
    #[error("the answer broke off, or is longer than {MAX_DOCUMENT} bytes: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

/// Servers of documents, and the way there.
pub(crate) struct DocumentServers<'a> {
    /// Clusters by weight; none means the URL's host.
    pub(crate) clusters: &'a [(u32, Arc<ClusterState>)],
    pub(crate) dns: &'a Dns,
    /// Time for a connection.
    pub(crate) connect_timeout: Duration,
    /// Whether the URL's host may be the machine itself.
    pub(crate) local_addresses: LocalAddresses,
}

impl DocumentServers<'_> {
    /// Fetches a document, once. A redirect is not followed.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(crate) async fn fetch(&self, uri: &Uri) -> Result<Bytes, FetchError> {
        timeout(FETCH_TIMEOUT, self.fetch_slowly(uri)).await.unwrap_or(Err(FetchError::Late))
    }

    async fn fetch_slowly(&self, uri: &Uri) -> Result<Bytes, FetchError> {
        let request = url_host::request(uri, Request::builder().method(Method::GET).header(header::ACCEPT, "application/json"))?;
        let make = || request.clone().map(|()| RequestBody::empty());
        // No connection is kept from one fetch to the next.
        let upstreams = Upstreams::new(self.dns.clone());
        let timeouts = Timeouts { connect: self.connect_timeout, ..Timeouts::default() };
        let way = UrlWay {
            server: subrequest::choose(self.clusters),
            upstreams: &upstreams,
            timeouts: &timeouts,
            local_addresses: self.local_addresses,
        };
        let Exchange { response, .. } = url_host::send(uri, make, way).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await.map_err(FetchError::Body)?;
        Ok(body.to_bytes())
    }
}
