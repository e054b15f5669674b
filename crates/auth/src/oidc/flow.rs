//! Logins under way. A flow has one cookie with a random nonce; all else follows from the nonce and the policy's key: the MAC of `state`, the
//! verifier of PKCE (RFC 7636) and the `nonce` of the ID token. So little is kept that many tabs can log in at once.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::Uri;
use ring::digest;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{
    Oidc, OidcRequest,
    cookies::{Cookies, NewCookies},
};

/// Most logins under way of a browser. Older ones are given up.
const MAX_FLOWS: usize = 8;
/// Most cookies that one response deletes; the next one deletes more.
const MAX_DELETED: usize = 64;
/// Longest `state` that is read, in bytes.
const MAX_STATE: usize = 8 << 10;
/// Longest URL that a client comes back to, in bytes.
const MAX_URL: usize = 2048;

/// Random bytes that a login needs.
pub type FlowEntropy = [u8; 24];

/// `state` of the authorization request, which the provider gives back.
#[derive(Deserialize, Serialize)]
struct State<'s> {
    url: std::borrow::Cow<'s, str>,
    flow_id: std::borrow::Cow<'s, str>,
    csrf_token: std::borrow::Cow<'s, str>,
}

/// Identity of a login: nobody but the gateway makes one. It tells nothing of the login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoginId(pub [u8; 16]);

/// A login under way.
#[derive(Debug)]
pub(super) struct Flow {
    id: String,
    nonce: String,
}

/// Parameters of an authorization request that follow from a flow.
pub(super) struct FlowParameters {
    pub(super) state: String,
    pub(super) nonce: String,
    pub(super) code_challenge: String,
}

/// Reason why a `state` is not of a login that this browser began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// It is malformed.
    #[error("the state is malformed")]
    Form,
    /// The browser has no cookie of the login, or the login is over.
    #[error("the browser has no login of this state under way")]
    NoFlow,
    /// The MAC is wrong.
    #[error("the state was altered")]
    Altered,
    /// The login took longer than `csrfTokenTTL`.
    #[error("the login took too long")]
    Expired,
    /// The URL that the client would come back to is of another site, or is the callback itself.
    #[error("the state leads to another site or to the callback path")]
    Url,
}

impl Flow {
    /// A new flow. The time in its id says which of several is older.
    fn new(entropy: &FlowEntropy, now: i64) -> Self {
        let (id, nonce) = entropy.split_at(8);
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { id: format!("{now:010x}{id}"), nonce: BASE64_URL_SAFE_NO_PAD.encode(nonce) }
    }

    /// Verifier of PKCE: 32 octets in 43 letters.
    pub(super) fn code_verifier(&self, oidc: &Oidc) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(oidc.keys.mac("code_verifier", &[&self.id, &self.nonce]))
    }

    /// `nonce` of the ID token.
    pub(super) fn token_nonce(&self, oidc: &Oidc) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(oidc.keys.mac("nonce", &[&self.id, &self.nonce]))
    }

    /// The login's identity.
    pub(super) fn login_id(&self, oidc: &Oidc) -> LoginId {
        let mac = oidc.keys.mac("login", &[&self.id, &self.nonce]);
        LoginId(mac.first_chunk().copied().unwrap_or_default())
    }

    /// The second since 1970 after which the login is over.
    pub(super) fn end(&self, oidc: &Oidc) -> i64 {
        let ttl = i64::try_from(oidc.csrf_token_ttl.as_secs()).unwrap_or(i64::MAX);
        started(&self.id).unwrap_or(0).saturating_add(ttl)
    }

    fn csrf_token(&self, oidc: &Oidc, url: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(oidc.keys.mac("state", &[&self.id, &self.nonce, url]))
    }

    /// Parameters of the authorization request.
    fn parameters(&self, oidc: &Oidc, url: &str) -> FlowParameters {
        let state = State { url: url.into(), flow_id: (&*self.id).into(), csrf_token: self.csrf_token(oidc, url).into() };
        let challenge = digest::digest(&digest::SHA256, self.code_verifier(oidc).as_bytes());
        FlowParameters {
            // An object of texts is JSON.
            state: BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(&state).unwrap_or_default()),
            nonce: self.token_nonce(oidc),
            code_challenge: BASE64_URL_SAFE_NO_PAD.encode(challenge),
        }
    }

    /// Name of the flow's cookie.
    fn cookie(&self, oidc: &Oidc) -> String {
        cookie_name(oidc, &self.id)
    }

    /// Deletes the flow's cookie.
    pub(super) fn forget(&self, oidc: &Oidc, set: &mut NewCookies<'_>) {
        set.delete_one(&self.cookie(oidc));
    }
}

impl Oidc {
    /// Begins a login, and gives up those that are too old or too many.
    pub(super) fn begin_flow(
        &self,
        request: &OidcRequest<'_>,
        cookies: &Cookies<'_>,
        entropy: &FlowEntropy,
        now: i64,
        set: &mut NewCookies<'_>,
    ) -> FlowParameters {
        let flow = Flow::new(entropy, now);
        let prefix = cookie_name(self, "");
        let is_over = |id: &&str| started(id).is_none_or(|start| self.is_over(start, now));
        let (over, mut others): (Vec<_>, Vec<_>) = cookies.with_prefix(&prefix).partition(is_over);
        // An id begins with its time. Cookies that are no flow's do not push one out.
        others.sort_unstable();
        let oldest = &others[..others.len().saturating_sub(MAX_FLOWS - 1)];
        for id in oldest.iter().chain(&over).take(MAX_DELETED) {
            set.delete_one(&format!("{prefix}{id}"));
        }
        // A name of hexadecimal digits can stand in a cookie.
        let _ = set.set_for_login(&flow.cookie(self), &flow.nonce, self.csrf_token_ttl.as_secs());
        flow.parameters(self, &self.original_url(request))
    }

    /// Finds the login that a `state` is of, and the URL that the client began with.
    pub(super) fn find_flow(
        &self,
        request: &OidcRequest<'_>,
        cookies: &Cookies<'_>,
        state: &[u8],
        now: i64,
    ) -> Result<(Flow, Uri), StateError> {
        if state.len() > MAX_STATE {
            return Err(StateError::Form);
        }
        let state = BASE64_URL_SAFE_NO_PAD.decode(state).map_err(|_| StateError::Form)?;
        let State { url, flow_id, csrf_token } = serde_json::from_slice(&state).map_err(|_| StateError::Form)?;
        let start = started(&flow_id).ok_or(StateError::Form)?;
        let nonce = cookies.find(&cookie_name(self, &flow_id)).ok_or(StateError::NoFlow)?;
        let flow = Flow { id: flow_id.into_owned(), nonce: nonce.to_owned() };
        let own = flow.csrf_token(self, &url);
        if !bool::from(own.as_bytes().ct_eq(csrf_token.as_bytes())) {
            return Err(StateError::Altered);
        }
        if self.is_over(start, now) {
            return Err(StateError::Expired);
        }
        let url: Uri = url.parse().map_err(|_| StateError::Url)?;
        if self.is_own(request, &url) { Ok((flow, url)) } else { Err(StateError::Url) }
    }

    /// URL that the client comes back to. Of one that is too long for a `state`, as much as can be kept.
    fn original_url(&self, request: &OidcRequest<'_>) -> String {
        let OidcRequest { scheme, authority, uri, .. } = request;
        let whole = format!("{scheme}://{authority}{}", uri.path_and_query().map_or("/", |path| path.as_str()));
        let path = format!("{scheme}://{authority}{}", uri.path());
        [whole, path].into_iter().find(|url| url.len() <= MAX_URL).unwrap_or_else(|| format!("{scheme}://{authority}/"))
    }

    /// Whether a URL is of the request's host, or of a host that shares its cookies, and is not the callback.
    fn is_own(&self, request: &OidcRequest<'_>, url: &Uri) -> bool {
        let Some(host) = url.host().filter(|_| matches!(url.scheme_str(), Some("http" | "https"))) else { return false };
        let shares_cookies = |domain: &str| {
            let rest = host.to_ascii_lowercase();
            rest.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let is_same = url.authority().is_some_and(|own| own.as_str().eq_ignore_ascii_case(request.authority));
        (is_same || self.cookies.domain.as_deref().is_some_and(shares_cookies)) && url.path() != &*self.callback_path
    }

    fn is_over(&self, start: i64, now: i64) -> bool {
        // Clocks of replicas differ a little.
        now.saturating_sub(start) > self.csrf_token_ttl.as_secs() as i64 || start.saturating_sub(now) > 60
    }
}

fn cookie_name(oidc: &Oidc, id: &str) -> String {
    format!("{}.{id}", oidc.cookie_names.nonce)
}

/// The time at which a flow began, of its id.
fn started(id: &str) -> Option<i64> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    let start = id.get(..10).filter(|_| id.len() == 26 && id.bytes().all(is_hex))?;
    i64::from_str_radix(start, 16).ok()
}
