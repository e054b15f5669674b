//! Requests to a provider: to the servers that the policy names, or else to the host of the URL.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use pailou_ai::Pieces;
use pailou_auth::{DiscoveryError, JwkSet, JwkSetError, Provider, Refresh, TokenRequest, TokenResponse, TokenResponseError};
use pailou_snapshot::{OidcFilter, Timeouts};
use tokio::time::timeout;

use crate::{
    oidc_providers::{FetchError, OidcProviders, RefreshFailure, RefreshOutcome},
    request_body::RequestBody,
    runtime::Runtime,
    subrequest::{self, SubrequestError},
    upstream::Exchange,
    url_host::{self, UrlError},
    worker::Worker,
};

/// Time for an answer of the token endpoint.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 256 << 10;

/// Age at which a discovery document is fetched again.
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(600);
/// Age at which a key set is fetched again.
const KEYS_INTERVAL: Duration = Duration::from_secs(300);
/// The same where a token names a key that the set does not have.
const MISSING_KEY_INTERVAL: Duration = Duration::from_secs(10);

/// Reason why a provider gave no answer that is of use. Its text is for logs; it has no token, code or secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("{0}")]
    Fetch(#[from] FetchError),
    #[error("too many logins and refreshes are under way")]
    Busy,
    #[error("{0}")]
    Refresh(Arc<str>),
    #[error("it did not answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("{0}")]
    Subrequest(#[from] SubrequestError),
    #[error("{0}")]
    Host(#[from] UrlError),
    #[error("{0} answered {1}")]
    Status(Uri, StatusCode),
    #[error("its answer broke off, or is longer than {MAX_ANSWER} bytes: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("{0:?} is no URL that can be asked")]
    Url(String),
    #[error("{0}")]
    Discovery(#[from] DiscoveryError),
    #[error("{0}")]
    Keys(#[from] JwkSetError),
    #[error("{0}")]
    Tokens(#[from] TokenResponseError),
}

/// Way to a provider for one request of a client, which may end before the provider answers.
#[derive(Clone)]
pub(super) struct ProviderClient {
    pub(super) runtime: Arc<Runtime>,
    pub(super) worker: Arc<Worker>,
    pub(super) filter: Arc<OidcFilter>,
}

impl ProviderClient {
    /// The provider's endpoints.
    ///
    /// # Errors
    /// It cannot be reached, or its discovery document is of no use.
    pub(super) async fn provider(&self) -> Result<Arc<Provider>, ProviderError> {
        let settings = &self.filter.settings.provider;
        let fetch = async {
            let document = self.fetch(&settings.discovery_url()).await?;
            Ok(settings.read_discovery(&document)?)
        };
        self.known().state(&self.filter).provider.fetched(DISCOVERY_INTERVAL, fetch).await
    }

    /// The provider's keys; with `is_missing_one` newer ones, if they may be had by now.
    ///
    /// # Errors
    /// It cannot be reached, or its keys are of no use.
    pub(super) async fn keys(&self, provider: &Provider, is_missing_one: bool) -> Result<Arc<JwkSet>, ProviderError> {
        let interval = if is_missing_one { MISSING_KEY_INTERVAL } else { KEYS_INTERVAL };
        let fetch = async {
            let document = self.fetch(&provider.jwks_uri.to_string()).await?;
            Ok(JwkSet::parse(&document)?)
        };
        self.known().state(&self.filter).keys.fetched(interval, fetch).await
    }

    /// Exchanges a code, or a refresh token, for tokens.
    ///
    /// # Errors
    /// The provider cannot be reached, or refuses.
    pub(super) async fn tokens(&self, request: TokenRequest) -> Result<TokenResponse, ProviderError> {
        let state = self.known().state(&self.filter);
        let _permit = state.exchange().await.ok_or(ProviderError::Busy)?;
        timeout(TOKEN_TIMEOUT, self.ask_for_tokens(request)).await.unwrap_or(Err(ProviderError::Late(TOKEN_TIMEOUT)))
    }

    /// Makes a session go on. Requests that come at once with the same refresh token share one answer.
    ///
    /// # Errors
    /// The provider cannot be reached, or refuses.
    pub(super) async fn refreshed(&self, provider: &Provider, refresh: &Refresh) -> RefreshOutcome {
        let settings = &self.filter.settings;
        let (client, request) = (self.clone(), settings.refresh_request(provider, refresh));
        let ask = async move {
            client.tokens(request).await.map_err(|error| match error {
                ProviderError::Tokens(refused @ TokenResponseError::Refused(..)) if !refused.is_of_client() => {
                    RefreshFailure::Refused(refused)
                }
                error => RefreshFailure::Unavailable(error.to_string().into()),
            })
        };
        self.known().refreshes.join(settings, refresh, ask).await
    }

    fn known(&self) -> &OidcProviders {
        &self.worker.context.oidc
    }

    async fn fetch(&self, url: &str) -> Result<Bytes, ProviderError> {
        let uri: Uri = url.parse().map_err(|_| ProviderError::Url(url.to_owned()))?;
        let request = Request::builder().method(Method::GET).header(header::ACCEPT, "application/json");
        match self.send(&uri, request, Bytes::new()).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => Err(ProviderError::Status(uri, status)),
        }
    }

    async fn ask_for_tokens(
        &self,
        TokenRequest { uri, authorization, body }: TokenRequest,
    ) -> Result<TokenResponse, ProviderError> {
        let request = Request::builder()
            .method(Method::POST)
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        let (status, body) = self.send(&uri, request, Bytes::from(body)).await?;
        // A failure of the provider says nothing of the client.
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(ProviderError::Status(uri, status));
        }
        Ok(TokenResponse::read(status.as_u16(), &body)?)
    }

    async fn send(&self, uri: &Uri, request: http::request::Builder, body: Bytes) -> Result<(StatusCode, Bytes), ProviderError> {
        let request = match body.len() {
            0 => request,
            length => request.header(header::CONTENT_LENGTH, HeaderValue::from(length)),
        };
        let request = url_host::request(uri, request)?;
        let made = || request.clone().map(|()| RequestBody::held(Pieces::from(body.clone())));
        let Exchange { response, .. } = match subrequest::choose(&self.filter.backends) {
            Some(key) => {
                let cluster = self.runtime.find(key).ok_or(SubrequestError::NoEndpoint)?;
                subrequest::send_over(cluster, &self.worker.upstreams, &Timeouts::default(), |_| (made(), ())).await?.0
            }
            None => url_host::send(uri, made(), &self.worker.upstreams, &Timeouts::default()).await?,
        };
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(ProviderError::Body)?;
        Ok((head.status, body.to_bytes()))
    }
}
