//! Login, callback, refresh and logout.

use http::{HeaderValue, Uri};

use super::{
    FlowEntropy, IdTokenError, LoginId, Oidc, OidcError, OidcReply, OidcRequest, Provider, Refresh, SameSite, Session,
    TokenResponse,
    cookies::{Cookies, NewCookies},
    flow::Flow,
    id_token::{self, Expected},
    parameter,
    session::NewSession,
    token_request::Form,
    token_response::error_code,
};
use crate::JwkSet;

/// A client that came back from the provider with a code.
#[derive(Debug)]
pub struct PendingLogin {
    /// Its identity.
    pub id: LoginId,
    /// The second since 1970 after which its `state` counts no more.
    pub end: i64,
    pub(super) flow: Flow,
    pub(super) code: Vec<u8>,
    /// URL that it began with.
    url: Uri,
}

/// A session that begins or goes on.
#[derive(Debug)]
pub struct LoggedIn {
    /// The session.
    pub session: Session,
    /// Values of `Set-Cookie`.
    pub set_cookies: Vec<HeaderValue>,
}

impl Oidc {
    /// The way to the provider.
    ///
    /// # Errors
    /// The URL cannot stand in a header.
    pub fn login(
        &self,
        provider: &Provider,
        request: &OidcRequest<'_>,
        entropy: &FlowEntropy,
        now: i64,
    ) -> Result<OidcReply, OidcError> {
        let cookies = Cookies::read(request.headers);
        let mut set = NewCookies::new(&self.cookies);
        let flow = self.begin_flow(request, &cookies, entropy, now, &mut set);
        let mut query = Form::default();
        query.add("client_id", self.client_id.as_bytes());
        query.add("response_type", b"code");
        query.add("redirect_uri", request.redirect_uri.as_bytes());
        query.add("scope", self.scopes.join(" ").as_bytes());
        query.add("state", flow.state.as_bytes());
        query.add("nonce", flow.nonce.as_bytes());
        query.add("code_challenge", flow.code_challenge.as_bytes());
        query.add("code_challenge_method", b"S256");
        self.resources.iter().for_each(|resource| query.add("resource", resource.as_bytes()));
        redirect(&with_query(&provider.authorization_endpoint, &query), set)
    }

    /// A client that comes back from the provider. One that has a session already, by another tab, goes on to its URL, and needs no code.
    ///
    /// # Errors
    /// The callback is of no login that this browser began, or the provider refused the login.
    pub fn callback(&self, request: &OidcRequest<'_>, now: i64) -> Result<Result<OidcReply, PendingLogin>, OidcError> {
        let query = request.uri.query().unwrap_or_default();
        let state = parameter(query, "state")?.ok_or(OidcError::Parameter("state"))?;
        let cookies = Cookies::read(request.headers);
        let (flow, url) = self.find_flow(request, &cookies, &state, now)?;
        if self.session(&cookies, request.host, now).is_some() {
            let mut set = NewCookies::new(&self.cookies);
            flow.forget(self, &mut set);
            return self.back(&url, set).map(Ok);
        }
        if parameter(query, "iss")?.is_some_and(|issuer| *issuer != *self.provider.issuer.as_bytes()) {
            return Err(OidcError::Issuer);
        }
        if let Some(error) = parameter(query, "error")? {
            return Err(OidcError::Refused(error_code(&String::from_utf8_lossy(&error))));
        }
        let code = parameter(query, "code")?.filter(|code| !code.is_empty()).ok_or(OidcError::Parameter("code"))?;
        let (id, end) = (flow.login_id(self), flow.end(self));
        Ok(Err(PendingLogin { id, end, flow, code: code.into_owned(), url }))
    }

    /// Ends a login with the tokens that its code was exchanged for.
    ///
    /// # Errors
    /// The ID token is not accepted, or cookies cannot hold the tokens.
    pub fn logged_in(
        &self,
        request: &OidcRequest<'_>,
        login: &PendingLogin,
        response: &TokenResponse,
        keys: &JwkSet,
        now: i64,
    ) -> Result<OidcReply, OidcError> {
        let id_token = response.id_token.as_ref().ok_or(IdTokenError::Missing)?;
        let nonce = login.flow.token_nonce(self);
        let subject = id_token::check(id_token, keys, &Expected { nonce: Some(&nonce), ..self.expected(now) })?;
        let cookies = Cookies::read(request.headers);
        let mut set = NewCookies::new(&self.cookies);
        self.keep(&cookies, request.host, &NewSession { response, subject: &subject, id_token: None, now }, &mut set)?;
        login.flow.forget(self, &mut set);
        self.back(&login.url, set)
    }

    /// Values of `Set-Cookie` that end a session which the provider does not let go on.
    pub fn end_session(&self, request: &OidcRequest<'_>) -> Vec<HeaderValue> {
        let cookies = Cookies::read(request.headers);
        let mut set = NewCookies::new(&self.cookies);
        self.cookie_names.of_session().iter().for_each(|name| set.delete(&cookies, name));
        set.into_lines()
    }

    /// Makes a session go on with the tokens that the provider gave for a refresh token.
    ///
    /// # Errors
    /// The ID token is not accepted, or cookies cannot hold the tokens.
    pub fn refreshed(
        &self,
        request: &OidcRequest<'_>,
        refresh: &Refresh,
        mut response: TokenResponse,
        keys: &JwkSet,
        now: i64,
    ) -> Result<LoggedIn, OidcError> {
        // A provider need not give new ones (RFC 6749, section 6; OpenID Connect Core 1.0, section 12.2).
        if let Some(id_token) = &response.id_token {
            id_token::check(id_token, keys, &Expected { subject: Some(&refresh.subject), ..self.expected(now) })?;
        }
        response.refresh_token.get_or_insert_with(|| refresh.token.clone());
        let cookies = Cookies::read(request.headers);
        let before = self.sealed_id_token(&cookies, request.host);
        let mut set = NewCookies::new(&self.cookies);
        let new = NewSession { response: &response, subject: &refresh.subject, id_token: before.as_ref(), now };
        let session = self.keep(&cookies, request.host, &new, &mut set)?;
        Ok(LoggedIn { session, set_cookies: set.into_lines() })
    }

    /// The end of a session: at the gateway, and at the provider where that has an endpoint for it.
    ///
    /// # Errors
    /// The URL cannot stand in a header.
    pub fn logout(&self, provider: Option<&Provider>, request: &OidcRequest<'_>, now: i64) -> Result<OidcReply, OidcError> {
        let cookies = Cookies::read(request.headers);
        let mut set = NewCookies::new(&self.cookies);
        self.cookie_names.of_session().iter().for_each(|name| set.delete(&cookies, name));
        let root = format!("{}://{}/", request.scheme, request.authority);
        let settings = self.provider.end_session_endpoint.as_deref();
        let Some(endpoint) = settings.or_else(|| provider.and_then(|it| it.end_session_endpoint.as_deref())) else {
            return redirect(&root, set);
        };
        let mut query = Form::default();
        let session = self.session(&cookies, request.host, now).and_then(|session| session.id_token);
        if let Some(token) = session.or_else(|| self.sealed_id_token(&cookies, request.host)) {
            query.add("id_token_hint", token.expose().as_bytes());
        }
        query.add("client_id", self.client_id.as_bytes());
        query.add("post_logout_redirect_uri", root.as_bytes());
        redirect(&with_query(endpoint, &query), set)
    }

    /// The way back from the provider to the URL that a client began with.
    fn back(&self, url: &Uri, set: NewCookies<'_>) -> Result<OidcReply, OidcError> {
        let url = url.to_string();
        let page = (self.cookies.same_site == SameSite::Strict).then(|| {
            let url = url.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
            format!("<!doctype html><meta http-equiv=\"refresh\" content=\"0;url={url}\">\n")
        });
        redirect(&url, set).map(|reply| OidcReply { page, ..reply })
    }

    fn expected(&self, now: i64) -> Expected<'_> {
        Expected { issuer: &self.provider.issuer, client_id: &self.client_id, nonce: None, subject: None, now }
    }
}

fn with_query(url: &str, Form(query): &Form) -> String {
    let joint = match url.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    format!("{url}{joint}{query}")
}

fn redirect(url: &str, set: NewCookies<'_>) -> Result<OidcReply, OidcError> {
    let location = HeaderValue::from_str(url).map_err(|_| OidcError::Url)?;
    Ok(OidcReply { location, page: None, set_cookies: set.into_lines() })
}
