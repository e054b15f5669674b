//! Authentication: API keys, passwords and tokens (SecurityPolicy `apiKeyAuth`, `basicAuth`, `jwt`). Several of them all have to pass.

use std::{
    cell::Cell,
    sync::{Arc, LazyLock},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use pailou_auth::{
    ApiKeyAuth, BasicAuth, Claims, Denial, DocumentId, JwtAuth, JwtContext, JwtError, Keys, Metadata, PasswordCheck, VerifiedTokens,
};
use smallvec::SmallVec;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::Stage;
use crate::{
    error::{Error, Flag},
    request_head::Head,
    wall_clock::unix_seconds,
};

/// Envoy's names of the namespaces that facts of authentication are found in.
const API_KEY_NAMESPACE: &str = "envoy.filters.http.api_key_auth";
const JWT_NAMESPACE: &str = "envoy.filters.http.jwt_authn";
/// Passwords that are computed at a time: more would take the processor from requests that have passed.
static EXPENSIVE_CHECKS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(1)));
/// Passwords that wait for that, and the one that is computed: each may take a second.
static WAITING_CHECKS: Semaphore = Semaphore::const_new(16);

/// Identity of a request's client, as far as it is known.
#[derive(Clone, Default)]
pub(crate) struct Identity {
    /// Claims of valid tokens, with the name of their provider.
    pub(super) claims: SmallVec<[(Arc<str>, Arc<Claims>); 1]>,
    /// Facts for limits and rules.
    pub(super) metadata: Metadata,
    /// Id of the client whose API key it is.
    pub(super) api_client: Option<Arc<str>>,
    /// Name of the user whose password it is.
    pub(super) user: Option<Arc<str>>,
}

/// Client that has authenticated.
pub(crate) enum ClientId {
    /// That of an API key.
    ApiKey(Arc<str>),
    /// The `sub` claim of a token of this provider.
    Token(Arc<str>, Arc<Claims>),
    /// The user of a password.
    User(Arc<str>),
}

impl ClientId {
    /// A name that no client of another kind has, and none can give in a header: it begins with a NUL. Tokens of one provider that
    /// have no subject have one name.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::ApiKey(client) => format!("\0api-key\0{client}"),
            Self::Token(provider, claims) => {
                let subject = claims.payload().get("sub").and_then(|subject| subject.as_str()).unwrap_or("");
                format!("\0jwt\0{provider}\0{subject}")
            }
            Self::User(user) => format!("\0user\0{user}"),
        }
    }
}

impl Identity {
    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.metadata.is_empty() && self.api_client.is_none() && self.user.is_none()
    }

    /// Adds another part of it.
    pub(super) fn add(&mut self, other: Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = other;
            return;
        }
        match self.claims.is_empty() {
            true => self.claims = other.claims,
            false => self.claims.extend(other.claims),
        }
        self.metadata.extend(other.metadata);
        if other.api_client.is_some() {
            self.api_client = other.api_client;
        }
        if other.user.is_some() {
            self.user = other.user;
        }
    }

    /// The client that has authenticated, by its API key before its token, and its password last.
    pub(super) fn client_id(&self) -> Option<ClientId> {
        let of_token = || self.claims.first().map(|(provider, claims)| ClientId::Token(provider.clone(), claims.clone()));
        let of_password = || self.user.clone().map(ClientId::User);
        self.api_client.clone().map(ClientId::ApiKey).or_else(of_token).or_else(of_password)
    }
}

impl Identity {
    /// Facts by namespace and key.
    pub(super) fn as_json(&self) -> serde_json::Value {
        let mut namespaces = serde_json::Map::new();
        for (namespace, key, value) in self.metadata.iter() {
            let members = namespaces.entry(namespace).or_insert_with(|| serde_json::Map::new().into());
            if let Some(members) = members.as_object_mut() {
                members.insert(key.to_owned(), value.clone());
            }
        }
        namespaces.into()
    }
}

/// Asks for an API key.
///
/// # Errors
/// 401.
pub(super) fn api_key(settings: &ApiKeyAuth, head: &mut Head, identity: &mut Identity) -> Result<(), Error> {
    let parts = &mut head.parts;
    let key = settings.authenticate(&parts.headers, parts.uri.query(), Timestamp::now).map_err(error)?;
    if let Some(name) = &settings.client_id_header {
        let client = key.client_header.clone().ok_or_else(|| unfit_identity(name, &key.client))?;
        parts.headers.insert(name, client);
    }
    identity.api_client = Some(key.client.clone());
    for (name, value) in &*key.facts {
        identity.metadata.insert(API_KEY_NAMESPACE, name.clone(), value.clone());
    }
    if settings.is_removed {
        settings.sources.iter().for_each(|source| source.remove(&mut parts.headers, &mut parts.uri));
    }
    Ok(())
}

/// Asks for a name and a password.
///
/// # Errors
/// 401.
pub(super) async fn password(
    settings: &BasicAuth,
    stage: &Stage<'_>,
    head: &mut Head,
    identity: &mut Identity,
) -> Result<(), Error> {
    let url = Url::of(stage, head);
    let expensive = match settings.check(&head.parts.headers, url.parts()).map_err(error)? {
        PasswordCheck::User(name) => {
            let name: Arc<str> = name.into();
            return admit_user(settings, head, name, identity);
        }
        PasswordCheck::Expensive(check) => check,
    };
    let unavailable = || Error::new(Flag::Overflow, "too many passwords are being checked; try again");
    let waiting = WAITING_CHECKS.try_acquire().map_err(|_| unavailable())?;
    let permit = EXPENSIVE_CHECKS.clone().acquire_owned().await.map_err(|_| unavailable())?;
    // The computation has the permit: a client that leaves does not end it.
    let checked = spawn_blocking(move || {
        let checked = expensive.run();
        drop(permit);
        checked
    });
    let name = checked.await.map_err(|_| unavailable())?.map_err(error)?;
    drop(waiting);
    admit_user(settings, head, name.into(), identity)
}

fn admit_user(settings: &BasicAuth, head: &mut Head, name: Arc<str>, identity: &mut Identity) -> Result<(), Error> {
    if let Some(header) = &settings.username_header {
        forward(&mut head.parts.headers, header, &name)?;
    }
    identity.user = Some(name);
    Ok(())
}

/// Asks for a token. Gives back whether the route is to be chosen again with the headers that its claims have made.
///
/// # Errors
/// 401; 403 where the token is for others; 503 where its keys cannot be had.
pub(super) async fn token(settings: &JwtAuth, stage: &Stage<'_>, head: &mut Head, identity: &mut Identity) -> Result<bool, Error> {
    let (mut tokens, lack) = verify(settings, stage, head);
    // A fetch of keys may change the outcome, be it of a token that names a new key or of one that came before the first fetch.
    let is_verified = tokens.as_ref().is_ok_and(|tokens| !tokens.claims.is_empty());
    if let Some(lack) = lack.filter(|_| !is_verified)
        && lack.is_mended(stage).await
    {
        tokens = verify(settings, stage, head).0;
    }
    admit_token(settings, stage, head, identity, tokens)
}

/// The same, if no keys have to be waited for.
///
/// # Errors
/// The same.
pub(super) fn token_now(
    settings: &JwtAuth,
    stage: &Stage<'_>,
    head: &mut Head,
    identity: &mut Identity,
) -> Result<Option<bool>, Error> {
    let (tokens, lack) = verify(settings, stage, head);
    let is_verified = tokens.as_ref().is_ok_and(|tokens| !tokens.claims.is_empty());
    match is_verified || lack.is_none() {
        true => admit_token(settings, stage, head, identity, tokens).map(Some),
        false => Ok(None),
    }
}

fn admit_token(
    settings: &JwtAuth,
    stage: &Stage<'_>,
    head: &mut Head,
    identity: &mut Identity,
    tokens: Result<VerifiedTokens, JwtError>,
) -> Result<bool, Error> {
    let tokens = match tokens {
        Ok(tokens) => tokens,
        Err(reason) => return Err(error(JwtAuth::denial(reason, Url::of(stage, head).parts()))),
    };
    let parts = &mut head.parts;
    settings.forward_claims(&tokens, &mut parts.headers);
    let clears_route = tokens.claims.iter().any(|(provider, _)| provider.recompute_route);
    for (provider, claims) in tokens.claims {
        identity.metadata.insert(JWT_NAMESPACE, provider.name.clone(), claims.payload().clone());
        identity.claims.push((provider.name.clone(), claims));
    }
    Ok(clears_route)
}

/// Keys that were not there.
#[derive(Clone, Copy)]
enum KeyLack {
    /// None has been fetched.
    All(DocumentId),
    /// A token names a key that the last set does not have.
    One(DocumentId),
}

impl KeyLack {
    /// Waits for a fetch, as far as one may come of it. Gives back whether keys may be there now.
    async fn is_mended(self, stage: &Stage<'_>) -> bool {
        let sets = &stage.connection.worker.context.key_sets;
        match self {
            Self::All(id) => match sets.find(id) {
                Some(set) => set.begun().await,
                None => false,
            },
            Self::One(id) => match sets.find(id) {
                Some(set) => set.renewed().await,
                None => false,
            },
        }
    }
}

/// Looks at a request's tokens with the keys that are there, and gives the first lack of keys.
fn verify(settings: &JwtAuth, stage: &Stage<'_>, head: &Head) -> (Result<VerifiedTokens, JwtError>, Option<KeyLack>) {
    let lack = Cell::new(None);
    let fetch = |id: DocumentId, is_missing_one: bool| {
        let keys = stage.connection.worker.context.key_sets.keys(id);
        let lacking = match keys {
            Keys::Unavailable => Some(KeyLack::All(id)),
            Keys::Known(_) => is_missing_one.then_some(KeyLack::One(id)),
        };
        lack.set(lack.get().or(lacking));
        keys
    };
    let context = JwtContext { now: unix_seconds() as i64, fetch: &fetch, cache: &stage.connection.worker.tokens };
    let verified = settings.authenticate(&head.parts.headers, head.parts.uri.query(), &context);
    (verified, lack.get())
}

/// The response to a request that may not pass.
pub(super) fn error(denial: Denial) -> Error {
    let Denial { status, message, challenge } = denial;
    Error { status, challenge: challenge.map(Box::new), ..Error::new(Flag::Forbidden, message) }
}

/// Sets the header that a backend gets an identity in.
fn forward(headers: &mut HeaderMap, name: &HeaderName, identity: &str) -> Result<(), Error> {
    let value = HeaderValue::from_str(identity).map_err(|_| unfit_identity(name, identity))?;
    headers.insert(name, value);
    Ok(())
}

fn unfit_identity(name: &HeaderName, identity: &str) -> Error {
    Error::misconfigured(&format!("the identity {identity:?} cannot stand in the header {name}"))
}

/// URL of a request, for challenges.
struct Url<'a> {
    scheme: &'a str,
    host: &'a str,
    path: &'a str,
}

impl<'a> Url<'a> {
    fn of(stage: &Stage<'_>, head: &'a Head) -> Self {
        let scheme = if stage.connection.tls.is_some() { "https" } else { "http" };
        let path = head.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        Self { scheme, host: &head.authority, path }
    }

    fn parts(&self) -> [&str; 3] {
        [self.scheme, self.host, self.path]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_has_the_name_of_another_or_one_that_a_header_can_give() {
        let names = [ClientId::ApiKey("bob".into()), ClientId::User("bob".into())].map(|client| client.name());
        assert_ne!(names[0], names[1]);
        assert!(names.iter().all(|name| HeaderValue::from_str(name).is_err()));
    }
}
