//! Checks of ID tokens. Source: OpenID Connect Core 1.0, section 3.1.3.7.

use serde_json::Value;
use subtle::ConstantTimeEq;

use super::session::Token;
use crate::{Claims, JwkSet, JwtError, claims::WrongType, jws, jwt::CLOCK_SKEW};

/// Claims that an ID token has to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'e> {
    pub(super) issuer: &'e str,
    pub(super) client_id: &'e str,
    /// `nonce` of the authorization request; `None` after a refresh.
    pub(super) nonce: Option<&'e str>,
    /// `sub` of the first ID token; `None` for the first.
    pub(super) subject: Option<&'e str>,
    pub(super) now: i64,
}

/// Reason why an ID token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// The provider gave none.
    #[error("the provider gave no ID token: ask for the scope openid")]
    Missing,
    /// It is no valid token.
    #[error("{0}")]
    Token(#[from] JwtError),
    /// A claim that has to be there is missing.
    #[error("the ID token has no {0}")]
    NoClaim(&'static str),
    /// Signed with a symmetric key.
    #[error("the ID token is signed with a symmetric key: have the provider sign with a key of its key set")]
    Symmetric,
    /// Another client's.
    #[error("the ID token is of another client (azp)")]
    AuthorizedParty,
    /// Another login's.
    #[error("the ID token is of another login (nonce)")]
    Nonce,
    /// Another user's.
    #[error("the ID token is of another user than the session (sub)")]
    Subject,
    /// Issued in the future.
    #[error("the ID token was issued in the future (iat)")]
    IssuedAt,
}

/// Checks an ID token. Gives its `sub`.
pub(super) fn check(token: &Token, keys: &JwkSet, expected: &Expected<'_>) -> Result<Box<str>, IdTokenError> {
    let token = jws::Token::parse(token.expose().as_bytes())?;
    if token.is_symmetric() {
        return Err(IdTokenError::Symmetric);
    }
    let payload = token.payload()?;
    let claims = Claims::new(payload).map_err(|WrongType(name)| JwtError::Claim(name))?;
    token.verify(keys)?;
    let text = |name: &'static str| claims.payload().get(name).and_then(Value::as_str);
    if claims.issuer() != Some(expected.issuer) {
        return Err(JwtError::Issuer.into());
    }
    if !claims.audiences().any(|audience| audience == expected.client_id) {
        return Err(JwtError::Audience.into());
    }
    let party = text("azp");
    if party.is_some_and(|party| party != expected.client_id) || party.is_none() && claims.audiences().count() > 1 {
        return Err(IdTokenError::AuthorizedParty);
    }
    let expires = claims.expires.ok_or(IdTokenError::NoClaim("exp"))?;
    if expected.now > expires.saturating_add(CLOCK_SKEW) {
        return Err(JwtError::Expired.into());
    }
    let issued = claims.issued_at.ok_or(IdTokenError::NoClaim("iat"))?;
    if issued > expected.now.saturating_add(CLOCK_SKEW) {
        return Err(IdTokenError::IssuedAt);
    }
    if claims.not_before.is_some_and(|from| expected.now.saturating_add(CLOCK_SKEW) < from) {
        return Err(JwtError::NotYetValid.into());
    }
    if let Some(nonce) = expected.nonce {
        let found = text("nonce").ok_or(IdTokenError::NoClaim("nonce"))?;
        if !bool::from(found.as_bytes().ct_eq(nonce.as_bytes())) {
            return Err(IdTokenError::Nonce);
        }
    }
    let subject = text("sub").filter(|subject| !subject.is_empty()).ok_or(IdTokenError::NoClaim("sub"))?;
    if expected.subject.is_some_and(|before| before != subject) {
        return Err(IdTokenError::Subject);
    }
    Ok(subject.into())
}
