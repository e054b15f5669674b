//! Requests to a provider: to the servers that the policy names, or else to the host of the URL.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use pailou_ai::Pieces;
use pailou_auth::{JwkSet, PendingLogin, Provider, Refresh, TokenRequest, TokenResponse, TokenResponseError};
use pailou_snapshot::{OidcFilter, Timeouts};
use tokio::time::timeout;

use crate::{
    key_sets::KeySet,
    oidc_providers::{ExchangeKind, LoginFailure, RefreshFailure, RefreshOutcome, WaitingClient},
    request_body::RequestBody,
    runtime::Runtime,
    subrequest::{self, SubrequestError},
    upstream::Exchange,
    url_host::{self, UrlError, UrlWay},
    worker::Worker,
};

/// Time for an answer of the token endpoint.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 256 << 10;

/// Reason why a provider gave no answer that is of use. Its text is for logs; it has no token, code or secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("{0}")]
    Fetch(Arc<str>),
    #[error("too many logins and refreshes are under way")]
    Busy,
    #[error("{0}")]
    Unanswered(Arc<str>),
    #[error("it did not answer within {} s", .0.as_secs())]
    Late(Duration),
    #[error("{0}")]
    Host(#[from] UrlError),
    #[error("{0} answered {1}")]
    Status(Uri, StatusCode),
    #[error("its answer broke off, or is longer than {MAX_ANSWER} bytes: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    Tokens(#[from] TokenResponseError),
}

impl From<LoginFailure> for ProviderError {
    fn from(failure: LoginFailure) -> Self {
        match failure {
            LoginFailure::Refused(refused) => Self::Tokens(refused),
            LoginFailure::Busy => Self::Busy,
            LoginFailure::Unavailable(reason) => Self::Unanswered(reason),
        }
    }
}

/// A provider whose endpoints and keys are known.
pub(super) struct KnownProvider {
    /// Its endpoints.
    pub(super) endpoints: Arc<Provider>,
    /// Its keys.
    pub(super) keys: Arc<JwkSet>,
}

fn known(set: &KeySet) -> Result<KnownProvider, ProviderError> {
    let fetched = set.fetched();
    let known = fetched.and_then(|it| Some(KnownProvider { endpoints: it.provider.clone()?, keys: it.keys.clone() }));
    known.ok_or_else(|| ProviderError::Fetch(set.failure().unwrap_or_else(|| "it did not answer in time".into())))
}

/// Way to a provider for one request of a client, which may end before the provider answers.
#[derive(Clone)]
pub(super) struct ProviderClient {
    pub(super) runtime: Arc<Runtime>,
    pub(super) worker: Arc<Worker>,
    pub(super) filter: Arc<OidcFilter>,
}

impl ProviderClient {
    /// The provider's endpoints and keys, as the gateway has fetched them. Waits for the first fetch.
    ///
    /// # Errors
    /// It cannot be reached, or its discovery document or its keys are of no use.
    pub(super) async fn provider(&self) -> Result<KnownProvider, ProviderError> {
        let set = self.set()?;
        set.begun().await;
        known(&set)
    }

    /// The same after another fetch, for a token that names an unknown key; fetches are rare, whatever tokens name.
    ///
    /// # Errors
    /// As [`Self::provider`].
    pub(super) async fn renewed_provider(&self) -> Result<KnownProvider, ProviderError> {
        let set = self.set()?;
        set.renewed().await;
        known(&set)
    }

    fn set(&self) -> Result<Arc<KeySet>, ProviderError> {
        let set = self.worker.context.key_sets.find(self.filter.document);
        set.ok_or_else(|| ProviderError::Fetch("the configuration has just changed".into()))
    }

    /// Has the code of a login exchanged, for a client that may leave before the answer comes. `None`: the login is over, or another request
    /// waits for it. `now` is in seconds since 1970.
    pub(super) fn exchange(&self, login: &PendingLogin, request: TokenRequest, now: i64) -> Option<WaitingClient> {
        let client = self.clone();
        let ask = async move {
            client.tokens(ExchangeKind::Login, request).await.map_err(|error| match error {
                ProviderError::Tokens(refused) => LoginFailure::Refused(refused),
                ProviderError::Busy => LoginFailure::Busy,
                error => LoginFailure::Unavailable(error.to_string().into()),
            })
        };
        self.worker.context.oidc.logins.enter(login, now, ask)
    }

    /// Exchanges a code, or a refresh token, for tokens.
    async fn tokens(&self, kind: ExchangeKind, request: TokenRequest) -> Result<TokenResponse, ProviderError> {
        let exchanges = self.worker.context.oidc.exchanges(self.filter.document, kind);
        let _permit = exchanges.permit().await.ok_or(ProviderError::Busy)?;
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
            client.tokens(ExchangeKind::Refresh, request).await.map_err(|error| match error {
                ProviderError::Tokens(refused @ TokenResponseError::Refused(..)) if !refused.is_of_client() => {
                    RefreshFailure::Refused(refused)
                }
                error => RefreshFailure::Unavailable(error.to_string().into()),
            })
        };
        self.worker.context.oidc.refreshes.join(settings, refresh, ask).await
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
        let make = || request.clone().map(|()| RequestBody::held(Pieces::from(body.clone())));
        let server = match subrequest::choose(&self.filter.backends) {
            Some(key) => Some(self.runtime.find(key).ok_or(UrlError::Server(SubrequestError::NoEndpoint))?),
            None => None,
        };
        let Worker { upstreams, context, .. } = &*self.worker;
        let way = UrlWay { server, upstreams, timeouts: &Timeouts::default(), local_addresses: context.local_addresses };
        let Exchange { response, .. } = url_host::send(uri, make, way).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(ProviderError::Body)?;
        Ok((head.status, body.to_bytes()))
    }
}
