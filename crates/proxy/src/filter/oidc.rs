//! Login at a provider of OpenID Connect (SecurityPolicy `oidc`).

mod client;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use pailou_auth::{OidcError, OidcReply, OidcRequest, OidcStep, PendingLogin, Refresh};
use pailou_snapshot::OidcFilter;
use ring::rand::{SecureRandom, SystemRandom};

use super::Stage;
use crate::{
    error::{Error, Flag},
    error_response,
    oidc_providers::RefreshFailure,
    request_head::Head,
    response_body::ResponseBody,
    wall_clock::unix_seconds,
};
use client::{ProviderClient, ProviderError};

/// State of a request that `oidc` let pass.
#[derive(Default)]
pub(super) struct OidcState {
    /// Cookies that the response sets.
    pub(super) set_cookies: Vec<HeaderValue>,
    /// Filter whose cookies the request bears decrypted.
    revealed: Option<Arc<OidcFilter>>,
}

impl OidcState {
    /// Removes the decrypted cookies once the filter that reads them has.
    pub(super) fn hide(&mut self, headers: &mut HeaderMap) {
        if let Some(filter) = self.revealed.take() {
            filter.settings.remove_cookies(headers);
        }
    }
}

/// Sends a client without a session to log in. Gives the gateway's own response.
///
/// # Errors
/// 401 for a login that fails, and for clients that are not to be redirected; 503 if the provider gives no answer; 500 if cookies cannot hold
/// its tokens.
pub(super) async fn request(
    filter: &Arc<OidcFilter>,
    stage: &Stage<'_>,
    head: &mut Head,
    state: &mut OidcState,
) -> Result<Option<Response<ResponseBody>>, Error> {
    let settings = &filter.settings;
    let redirect_uri = filter.redirect_url.render(stage.scheme, &head.authority);
    let now = unix_seconds() as i64;
    let turn = Turn { filter, stage, now };
    let session = {
        let request = of(stage, head, &redirect_uri);
        match settings.step(&request, now) {
            OidcStep::PassThrough => None,
            OidcStep::Session(session) => Some(session),
            OidcStep::Refresh(refresh) => match turn.refresh(&request, &refresh, state).await? {
                Some(session) => Some(session),
                // The provider takes the refresh token no more.
                None if settings.denies_redirect(&request) => return Err(unauthorized(None)),
                None => return turn.login(&request, state).await.map(Some),
            },
            OidcStep::Unauthorized => return Err(unauthorized(None)),
            OidcStep::Login => return turn.login(&request, state).await.map(Some),
            OidcStep::Callback => return turn.callback(&request).await.map(Some),
            OidcStep::Logout => return turn.logout(&request).await.map(Some),
        }
    };
    let headers = &mut head.parts.headers;
    match &session {
        Some(session) if filter.reveals_cookies => {
            settings.reveal_cookies(session, headers);
            state.revealed = Some(filter.clone());
        }
        _ => settings.remove_cookies(headers),
    }
    match &session {
        Some(session) => settings.forward(session, headers),
        None => settings.forward_none(headers),
    }
    Ok(None)
}

/// Asks whether a client has a session.
///
/// # Errors
/// 401.
pub(super) fn consult(filter: &OidcFilter, stage: &Stage<'_>, head: &mut Head) -> Result<(), Error> {
    let redirect_uri = filter.redirect_url.render(stage.scheme, &head.authority);
    match filter.settings.step(&of(stage, head, &redirect_uri), unix_seconds() as i64) {
        OidcStep::PassThrough | OidcStep::Session(_) => Ok(()),
        _ => Err(unauthorized(None)),
    }
}

fn of<'r>(stage: &Stage<'_>, head: &'r Head, redirect_uri: &'r str) -> OidcRequest<'r> {
    OidcRequest {
        method: &head.parts.method,
        headers: &head.parts.headers,
        scheme: stage.scheme,
        authority: &head.authority,
        host: &head.host,
        uri: &head.parts.uri,
        redirect_uri,
    }
}

/// One request's way through the filter.
struct Turn<'a> {
    filter: &'a Arc<OidcFilter>,
    stage: &'a Stage<'a>,
    now: i64,
}

impl Turn<'_> {
    fn client(&self) -> ProviderClient {
        let Stage { runtime, connection, .. } = self.stage;
        ProviderClient { runtime: Arc::clone(runtime), worker: connection.worker.clone(), filter: self.filter.clone() }
    }

    async fn login(&self, request: &OidcRequest<'_>, state: &mut OidcState) -> Result<Response<ResponseBody>, Error> {
        let provider = self.client().provider().await.map_err(|error| self.unavailable(&error))?;
        let mut entropy = [0; 24];
        SystemRandom::new().fill(&mut entropy).map_err(|_| Error::misconfigured("the system gives no random bytes"))?;
        let mut reply = self.filter.settings.login(&provider.endpoints, request, &entropy, self.now).map_err(failed)?;
        reply.set_cookies.append(&mut state.set_cookies);
        Ok(response(reply))
    }

    async fn callback(&self, request: &OidcRequest<'_>) -> Result<Response<ResponseBody>, Error> {
        let settings = &self.filter.settings;
        let login = match settings.callback(request, self.now).map_err(failed)? {
            Ok(reply) => return Ok(response(reply)),
            Err(login) => login,
        };
        self.log_in(request, &login).await.map(response)
    }

    async fn log_in(&self, request: &OidcRequest<'_>, login: &PendingLogin) -> Result<OidcReply, Error> {
        let (settings, client) = (&self.filter.settings, self.client());
        let unavailable = |error: ProviderError| self.unavailable(&error);
        let provider = client.provider().await.map_err(unavailable)?;
        let exchange = settings.code_request(&provider.endpoints, login, request.redirect_uri);
        let mut waiting = client.exchange(login, exchange, self.now).ok_or_else(used)?;
        let tokens = match waiting.outcome().await {
            Ok(tokens) => tokens,
            Err(failure) => {
                waiting.complete();
                return Err(self.unavailable(&failure.into()));
            }
        };
        let mut reply = settings.logged_in(request, login, &tokens, &provider.keys, self.now);
        if reply.as_ref().is_err_and(OidcError::is_missing_key) {
            let keys = client.renewed_provider().await.map_err(unavailable)?.keys;
            reply = settings.logged_in(request, login, &tokens, &keys, self.now);
        }
        waiting.complete();
        reply.map_err(failed)
    }

    /// The session goes on; `None` if the provider refuses that.
    async fn refresh(
        &self,
        request: &OidcRequest<'_>,
        refresh: &Refresh,
        state: &mut OidcState,
    ) -> Result<Option<pailou_auth::Session>, Error> {
        let (settings, client) = (&self.filter.settings, self.client());
        let unavailable = |error: ProviderError| self.unavailable(&error);
        let provider = client.provider().await.map_err(unavailable)?;
        let tokens = match client.refreshed(&provider.endpoints, refresh).await {
            Ok(tokens) => tokens,
            Err(RefreshFailure::Refused(reason)) => {
                tracing::debug!(%reason, "a session ends");
                state.set_cookies.extend(settings.end_session(request));
                return Ok(None);
            }
            Err(RefreshFailure::Unavailable(reason)) => return Err(unavailable(ProviderError::Unanswered(reason))),
        };
        let mut refreshed = settings.refreshed(request, refresh, tokens.clone(), &provider.keys, self.now);
        if refreshed.as_ref().is_err_and(OidcError::is_missing_key) {
            let keys = client.renewed_provider().await.map_err(unavailable)?.keys;
            refreshed = settings.refreshed(request, refresh, tokens, &keys, self.now);
        }
        match refreshed {
            Ok(session) => {
                state.set_cookies.extend(session.set_cookies);
                Ok(Some(session.session))
            }
            // Nobody can say that it is still the same user.
            Err(OidcError::IdToken(reason)) => {
                tracing::debug!(%reason, "a session ends");
                state.set_cookies.extend(settings.end_session(request));
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    async fn logout(&self, request: &OidcRequest<'_>) -> Result<Response<ResponseBody>, Error> {
        // A provider that cannot be asked keeps nobody logged in here.
        let provider = self.client().provider().await.ok();
        self.filter.settings.logout(provider.as_ref().map(|it| &*it.endpoints), request, self.now).map(response).map_err(failed)
    }

    fn unavailable(&self, error: &ProviderError) -> Error {
        let message = match error {
            ProviderError::Tokens(refused) => return unauthorized(Some(refused.to_string())),
            ProviderError::Busy => "too many clients log in at once; try again",
            _ => "the identity provider gives no answer; try again",
        };
        let detail = format!("the identity provider {}: {error}", self.filter.settings.provider.issuer);
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let error = Error { status, ..Error::new(Flag::Forbidden, message).with_detail(detail) };
        error.with_retry_after(Duration::from_secs(1))
    }
}

/// A login or session that comes to nothing.
fn failed(error: OidcError) -> Error {
    match error {
        OidcError::TooLarge | OidcError::NoExpiry | OidcError::Url => Error::misconfigured(&format!("oidc: {error}")),
        error => unauthorized(Some(error.to_string())),
    }
}

/// 401, in Envoy's words.
fn unauthorized(detail: Option<String>) -> Error {
    let error = Error { status: StatusCode::UNAUTHORIZED, ..Error::new(Flag::Forbidden, "OAuth flow failed.") };
    match detail {
        Some(detail) => error.with_detail(format!("oidc: {detail}")),
        None => error,
    }
}

/// 401 for a `state` that has been used.
fn used() -> Error {
    let message = "OAuth flow failed: this login is over, or is being completed; open the page again";
    Error { status: StatusCode::UNAUTHORIZED, ..Error::new(Flag::Forbidden, message) }
}

fn response(OidcReply { location, page, set_cookies }: OidcReply) -> Response<ResponseBody> {
    let mut response = match page {
        Some(page) => error_response::with_body(StatusCode::OK, "text/html; charset=utf-8", Bytes::from(page)),
        None => {
            let mut response = Response::new(ResponseBody::empty());
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for line in set_cookies {
        headers.append(header::SET_COOKIE, line);
    }
    response
}
