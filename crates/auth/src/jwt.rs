//! JSON Web Tokens. Sources: RFC 7519, RFC 8725, Envoy Gateway's SecurityPolicy `jwt`; texts and statuses are Envoy's.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderMap, StatusCode};
use ring::digest::{Context, SHA256};
use smallvec::SmallVec;

use crate::{
    ClaimToHeader, Claims, CredentialSource, Denial, JwkSet, JwtError, TokenCache, claims::WrongType, denial::realm, jws::Token,
};

/// Seconds by which clocks may differ: Envoy's.
pub(crate) const CLOCK_SKEW: i64 = 60;

/// Settings of `jwt`.
#[derive(Clone, Debug)]
pub struct JwtAuth {
    /// Providers. One of them is enough.
    pub providers: Vec<Arc<JwtProvider>>,
    /// Consequence of a missing or invalid token.
    pub requirement: JwtRequirement,
}

/// Consequence of a missing or invalid token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwtRequirement {
    /// A valid token is needed.
    Valid,
    /// A missing token passes, an invalid one does not (`optional`).
    ValidOrMissing,
    /// Everything passes (`failOpen`).
    Any,
}

/// An issuer of tokens.
#[derive(Debug)]
pub struct JwtProvider {
    /// Its name, by which rules refer to its claims.
    pub name: Arc<str>,
    /// Conditions on claims.
    pub checks: TokenChecks,
    /// Parts of the head that a token may stand in. Each token there has to be valid.
    pub sources: Vec<CredentialSource>,
    /// Headers for the backend.
    pub claim_headers: Arc<[ClaimToHeader]>,
    /// The route is chosen again with those headers.
    pub recompute_route: bool,
    /// Keys.
    pub keys: KeySource,
}

/// Conditions on claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenChecks {
    /// `iss`; not compared if absent.
    pub issuer: Option<Box<str>>,
    /// One of these is in `aud`; not compared if empty.
    pub audiences: Vec<Box<str>>,
}

/// Source of keys.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// Keys that the configuration has.
    Local(Arc<JwkSet>),
    /// Keys that the proxy fetches.
    Remote(DocumentId),
}

/// Document that the proxy fetches: SHA-256 of what it is, and from where it comes. Nobody finds another document of the same identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId([u8; 32]);

impl DocumentId {
    /// The identity of what these parts say, in their order.
    pub fn of<'p>(parts: impl IntoIterator<Item = &'p str>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut id = Self::default();
        id.0.copy_from_slice(context.finish().as_ref());
        id
    }
}

/// Keys for a token, as far as there are any.
pub enum Keys {
    /// The set. Another may have come if the token names a key that is not in it.
    Known(Arc<JwkSet>),
    /// None has been fetched yet, or the server cannot be reached.
    Unavailable,
}

/// A request whose tokens were looked at.
#[derive(Debug, Default)]
pub struct VerifiedTokens {
    /// Claims of valid tokens, with their provider.
    pub claims: SmallVec<[(Arc<JwtProvider>, Arc<Claims>); 1]>,
}

/// Time and keys that a look at tokens needs.
pub struct JwtContext<'a> {
    /// Seconds since 1970.
    pub now: i64,
    /// Keys behind a URL. The flag says that a token named a key that the last set did not have.
    pub fetch: &'a dyn Fn(DocumentId, bool) -> Keys,
    /// Tokens whose signature was right.
    pub cache: &'a TokenCache,
}

impl JwtAuth {
    /// Looks at a request's tokens.
    ///
    /// # Errors
    /// The reason that the client gets: [`Self::denial`] makes the response of it.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        context: &JwtContext<'_>,
    ) -> Result<VerifiedTokens, JwtError> {
        let mut worst = JwtError::Missing;
        for provider in &self.providers {
            match provider.verify(headers, query, context) {
                Ok(tokens) => return Ok(tokens),
                Err(error) if error.rank() >= worst.rank() => worst = error,
                Err(_) => {}
            }
        }
        match (self.requirement, worst) {
            (JwtRequirement::Any, _) | (JwtRequirement::ValidOrMissing, JwtError::Missing) => Ok(VerifiedTokens::default()),
            (_, error) => Err(error),
        }
    }

    /// The response to a request without a valid token. `url` is scheme, host, path and query.
    pub fn denial(error: JwtError, [scheme, host, path]: [&str; 3]) -> Denial {
        let message = Cow::Owned(error.to_string());
        match error {
            JwtError::Audience => Denial::forbidden(message),
            // No other credential would help: the client is to try again.
            JwtError::KeysUnavailable => Denial { status: StatusCode::SERVICE_UNAVAILABLE, message, challenge: None },
            _ => {
                let code = if error == JwtError::Missing { "" } else { ", error=\"invalid_token\"" };
                Denial::unauthorized(message).with_challenge(format!("Bearer realm={}{code}", realm(scheme, host, path)))
            }
        }
    }

    /// Sets the headers of the first token's claims, and removes the client's own of those names.
    pub fn forward_claims(&self, tokens: &VerifiedTokens, headers: &mut HeaderMap) {
        // One token makes the headers: two that are joined would be an identity that nobody has.
        let first = tokens.claims.first();
        let others = self.providers.iter().filter(|provider| !first.is_some_and(|(first, _)| Arc::ptr_eq(first, provider)));
        for header in others.flat_map(|provider| &*provider.claim_headers) {
            headers.remove(&header.header);
        }
        let Some((provider, claims)) = first else { return };
        if provider.claim_headers.is_empty() {
            return;
        }
        let values = claims.headers(&provider.claim_headers);
        for (at, (ClaimToHeader { header, .. }, value)) in provider.claim_headers.iter().zip(&*values).enumerate() {
            match value {
                Some(value) => drop(headers.insert(header, value.clone())),
                // A value that an earlier claim has set stays.
                None if provider.claim_headers[..at].iter().any(|earlier| earlier.header == *header) => {}
                None => drop(headers.remove(header)),
            }
        }
    }
}

impl JwtProvider {
    /// Verifies every token of the request that may be this provider's. Gives the claims of the last.
    fn verify(
        self: &Arc<Self>,
        headers: &HeaderMap,
        query: Option<&str>,
        context: &JwtContext<'_>,
    ) -> Result<VerifiedTokens, JwtError> {
        let mut claims = SmallVec::new();
        for token in self.sources.iter().filter_map(|source| source.find(headers, query)) {
            claims.push((self.clone(), self.verify_token(&token, context)?));
        }
        if claims.is_empty() { Err(JwtError::Missing) } else { Ok(VerifiedTokens { claims }) }
    }

    fn verify_token(&self, text: &[u8], context: &JwtContext<'_>) -> Result<Arc<Claims>, JwtError> {
        let mut keys = self.keys(context, false);
        if let Some(known) = &keys
            && let Some(claims) = context.cache.find(text, known)
        {
            self.checks.check(&claims, context.now)?;
            return Ok(claims);
        }
        let token = Token::parse(text)?;
        let claims = Claims::new(token.payload()?).map_err(|WrongType(name)| JwtError::Claim(name))?;
        // Before the signature: tokens of others, and old ones, cost no computation and fetch no keys.
        self.checks.check(&claims, context.now)?;
        let mut verified = Self::verify_signature(&token, keys.as_ref());
        if verified == Err(JwtError::NoKey) {
            // The issuer may have a new key.
            keys = self.keys(context, true);
            verified = Self::verify_signature(&token, keys.as_ref());
        }
        verified?;
        let claims = Arc::new(claims);
        if let Some(keys) = keys {
            context.cache.insert(text, &keys, claims.clone());
        }
        Ok(claims)
    }

    fn verify_signature(token: &Token<'_>, keys: Option<&Arc<JwkSet>>) -> Result<(), JwtError> {
        token.verify(keys.ok_or(JwtError::KeysUnavailable)?)
    }

    fn keys(&self, context: &JwtContext<'_>, is_missing_one: bool) -> Option<Arc<JwkSet>> {
        match &self.keys {
            KeySource::Local(keys) => Some(keys.clone()),
            KeySource::Remote(document) => match (context.fetch)(*document, is_missing_one) {
                Keys::Known(keys) => Some(keys),
                Keys::Unavailable => None,
            },
        }
    }
}

impl TokenChecks {
    fn check(&self, claims: &Claims, now: i64) -> Result<(), JwtError> {
        if self.issuer.as_deref().is_some_and(|issuer| claims.issuer() != Some(issuer)) {
            return Err(JwtError::Issuer);
        }
        if claims.not_before.is_some_and(|from| now.saturating_add(CLOCK_SKEW) < from) {
            return Err(JwtError::NotYetValid);
        }
        if claims.expires.is_some_and(|until| now > until.saturating_add(CLOCK_SKEW)) {
            return Err(JwtError::Expired);
        }
        let is_for = |audience: &str| self.audiences.iter().any(|own| **own == *audience);
        if !self.audiences.is_empty() && !claims.audiences().any(is_for) {
            return Err(JwtError::Audience);
        }
        Ok(())
    }
}
