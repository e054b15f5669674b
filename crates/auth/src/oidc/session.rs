//! Sessions: the tokens of a client that has logged in, kept in its cookies.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{
    Oidc, OidcError,
    cookies::{Cookies, NewCookies},
    token_response::TokenResponse,
};
use crate::cookie::remove_cookies;

/// Most bytes of all cookies of a session: half of what a request's head may have.
const MAX_SESSION: usize = 32 << 10;

/// A token. It is in no `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    pub(super) fn new(text: String) -> Self {
        Self(text)
    }

    /// The token as it goes into a request.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Tokens of a session that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Access token.
    pub access_token: Token,
    /// ID token.
    pub id_token: Option<Token>,
}

/// The right to a new session without another login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Refresh token.
    pub token: Token,
    /// `sub` of the ID token that the session began with. Another one is another user.
    pub subject: Box<str>,
    /// End, in seconds since 1970.
    pub(super) expires: i64,
}

/// Content of the cookie with the refresh token, which is sealed always: no backend needs to read it.
#[derive(Deserialize, Serialize)]
struct RefreshCookie<'t> {
    token: std::borrow::Cow<'t, str>,
    sub: std::borrow::Cow<'t, str>,
    exp: i64,
}

/// A session to be kept.
pub(super) struct NewSession<'t> {
    pub(super) response: &'t TokenResponse,
    pub(super) subject: &'t str,
    /// ID token of before, where the provider gave no new one.
    pub(super) id_token: Option<&'t Token>,
    pub(super) now: i64,
}

impl Oidc {
    /// The session of a request's cookies, if they are this policy's, for this host, unaltered and not too old.
    pub(super) fn session(&self, cookies: &Cookies<'_>, host: &str, now: i64) -> Option<Session> {
        let names = &self.cookie_names;
        let expires = cookies.find(&names.expires)?;
        let access = cookies.joined(&names.access_token)?;
        let id = cookies.joined(&names.id_token);
        let mac = BASE64_URL_SAFE_NO_PAD.decode(cookies.find(&names.hmac)?).ok()?;
        let own = self.session_mac(host, expires, &access, id.as_deref().unwrap_or_default());
        if !bool::from(own[..].ct_eq(&mac)) || expires.parse::<i64>().ok()? <= now {
            return None;
        }
        let id_token = match id {
            Some(id) => Some(self.opened(&names.id_token, host, &id)?),
            None => None,
        };
        Some(Session { access_token: self.opened(&names.access_token, host, &access)?, id_token })
    }

    /// The ID token, be the session too old: a hint for the provider. Without encryption nobody vouches for it then.
    pub(super) fn sealed_id_token(&self, cookies: &Cookies<'_>, host: &str) -> Option<Token> {
        let name = &self.cookie_names.id_token;
        let sealed = cookies.joined(name).filter(|_| self.encrypts_tokens)?;
        self.opened(name, host, &sealed)
    }

    /// The refresh token of a request's cookies.
    pub(super) fn refresh(&self, cookies: &Cookies<'_>, host: &str, now: i64) -> Option<Refresh> {
        let name = &self.cookie_names.refresh_token;
        let sealed = cookies.joined(name).filter(|_| self.uses_refresh_token)?;
        let text = self.keys.open([name, self.bound_to(host)], &sealed)?;
        let RefreshCookie { token, sub, exp } = serde_json::from_str(&text).ok()?;
        let refresh = Refresh { token: Token(token.into_owned()), subject: sub.as_ref().into(), expires: exp };
        Some(refresh).filter(|refresh| refresh.expires > now)
    }

    /// Keeps a session in cookies.
    ///
    /// # Errors
    /// The tokens are more than a browser keeps, or cannot stand in a cookie as they are, or the provider does not say how long they hold.
    pub(super) fn keep(
        &self,
        cookies: &Cookies<'_>,
        host: &str,
        new: &NewSession<'_>,
        set: &mut NewCookies<'_>,
    ) -> Result<Session, OidcError> {
        let (names, response) = (&self.cookie_names, new.response);
        let lifetime = response.expires_in.filter(|seconds| *seconds > 0).unwrap_or(self.default_token_ttl.as_secs());
        if lifetime == 0 {
            return Err(OidcError::NoExpiry);
        }
        let expires = new.now.saturating_add_unsigned(lifetime).to_string();
        let refresh = response.refresh_token.as_ref().filter(|_| self.uses_refresh_token);
        let refresh_ttl = refresh.map(|token| self.refresh_lifetime(token, new.now));
        let access = self.closed(&names.access_token, host, &response.access_token)?;
        let id_token = response.id_token.as_ref().or(new.id_token);
        let id = id_token.map(|token| self.closed(&names.id_token, host, token)).transpose()?;
        let refresh = refresh.map(|token| self.refresh_cookie(host, token, new, refresh_ttl.unwrap_or_default())).transpose()?;
        let mac = self.session_mac(host, &expires, &access, id.as_deref().unwrap_or_default());
        let length = access.len() + id.as_ref().map_or(0, String::len) + refresh.as_ref().map_or(0, String::len);
        if length > MAX_SESSION {
            return Err(OidcError::TooLarge);
        }
        let mut put = |name: &str, value: Option<&str>, max_age: u64| match value {
            Some(value) => set.set(cookies, name, value, max_age).map_err(|_| OidcError::TooLarge),
            None => {
                set.delete(cookies, name);
                Ok(())
            }
        };
        put(&names.access_token, Some(&access), lifetime)?;
        // The ID token outlives the session: logout shows it to the provider.
        put(&names.id_token, id.as_deref(), lifetime.max(refresh_ttl.unwrap_or_default()))?;
        put(&names.hmac, Some(&BASE64_URL_SAFE_NO_PAD.encode(mac)), lifetime)?;
        put(&names.expires, Some(&expires), lifetime)?;
        put(&names.refresh_token, refresh.as_deref(), refresh_ttl.unwrap_or_default())?;
        Ok(Session { access_token: response.access_token.clone(), id_token: id_token.cloned() })
    }

    /// Removes this policy's cookies from a request.
    pub fn remove_cookies(&self, headers: &mut HeaderMap) {
        remove_cookies(headers, |name| self.cookie_names.has(name));
    }

    /// The host that cookies are for.
    pub(super) fn bound_to<'h>(&'h self, host: &'h str) -> &'h str {
        self.cookies.domain.as_deref().unwrap_or(host)
    }

    fn session_mac(&self, host: &str, expires: &str, access: &str, id: &str) -> [u8; 32] {
        self.keys.mac("session", &[self.bound_to(host), expires, access, id])
    }

    /// A token as its cookie has it.
    fn closed(&self, name: &str, host: &str, Token(token): &Token) -> Result<String, OidcError> {
        match self.encrypts_tokens {
            true => self.keys.seal([name, self.bound_to(host)], token).ok_or(OidcError::TooLarge),
            false => Ok(token.clone()),
        }
    }

    fn opened(&self, name: &str, host: &str, value: &str) -> Option<Token> {
        match self.encrypts_tokens {
            true => self.keys.open([name, self.bound_to(host)], value).map(Token),
            false => Some(Token(value.to_owned())),
        }
    }

    fn refresh_cookie(&self, host: &str, token: &Token, new: &NewSession<'_>, ttl: u64) -> Result<String, OidcError> {
        let exp = new.now.saturating_add_unsigned(ttl);
        let cookie = RefreshCookie { token: token.expose().into(), sub: new.subject.into(), exp };
        let text = serde_json::to_string(&cookie).map_err(|_| OidcError::TooLarge)?;
        self.keys.seal([&self.cookie_names.refresh_token, self.bound_to(host)], &text).ok_or(OidcError::TooLarge)
    }

    /// Seconds for which a refresh token holds: until its `exp` where it is a JSON Web Token.
    fn refresh_lifetime(&self, Token(token): &Token, now: i64) -> u64 {
        #[derive(Deserialize)]
        struct Payload {
            exp: i64,
        }

        let mut parts = token.split('.');
        let payload = parts.nth(1).filter(|_| parts.next().is_some());
        let payload = payload.and_then(|payload| BASE64_URL_SAFE_NO_PAD.decode(payload).ok());
        let exp = payload.and_then(|payload| serde_json::from_slice::<Payload>(&payload).ok());
        let ttl = exp.and_then(|Payload { exp }| u64::try_from(exp.saturating_sub(now)).ok());
        ttl.unwrap_or(self.default_refresh_token_ttl.as_secs())
    }
}
