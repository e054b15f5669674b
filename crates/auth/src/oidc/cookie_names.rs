//! Names of cookies: one policy's, and those of several, which reach no backend.

use std::collections::HashSet;

use http::HeaderMap;

use super::cookies::is_part;
use crate::cookie::remove_cookies;

const ACCESS_TOKEN: &str = "AccessToken";
const ID_TOKEN: &str = "IdToken";
const NONCE: &str = "OauthNonce";

/// Names of a policy's cookies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CookieNames {
    /// Access token.
    pub access_token: Box<str>,
    /// ID token.
    pub id_token: Box<str>,
    /// Refresh token.
    pub refresh_token: Box<str>,
    /// MAC of the session.
    pub hmac: Box<str>,
    /// End of the session, in seconds since 1970.
    pub expires: Box<str>,
    /// Logins under way, without the flow's part.
    pub nonce: Box<str>,
}

impl CookieNames {
    /// Names of a policy, told from others by `id`: Envoy Gateway's, with a digest of 32 bits.
    pub fn new(id: &str, access_token: Option<&str>, id_token: Option<&str>) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, id.as_bytes());
        let suffix: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let name = |prefix: &str| format!("{prefix}-{suffix}").into_boxed_str();
        Self {
            access_token: access_token.map_or_else(|| name(ACCESS_TOKEN), Into::into),
            id_token: id_token.map_or_else(|| name(ID_TOKEN), Into::into),
            refresh_token: name("RefreshToken"),
            hmac: name("OauthHMAC"),
            expires: name("OauthExpires"),
            nonce: name(NONCE),
        }
    }

    /// Names of session cookies.
    pub(super) fn of_session(&self) -> [&str; 5] {
        [&self.access_token, &self.id_token, &self.refresh_token, &self.hmac, &self.expires]
    }

    /// The names that the policy chooses. They may be those of others' cookies.
    pub fn chosen(&self) -> impl Iterator<Item = &str> {
        let suffix = self.nonce.strip_prefix(NONCE);
        let tokens = [(ACCESS_TOKEN, &*self.access_token), (ID_TOKEN, &*self.id_token)];
        let chosen = move |(prefix, name): &(&str, &str)| name.strip_prefix(prefix) != suffix;
        tokens.into_iter().filter(chosen).map(|(_, name)| name)
    }

    /// The names that the gateway generates: they have the policy's digest.
    pub fn generated(&self) -> impl Iterator<Item = &str> {
        let all = self.of_session().into_iter().chain([&*self.nonce]);
        all.filter(|name| self.chosen().all(|chosen| chosen != *name))
    }

    /// Whether a cookie is one of these, or a part of one.
    pub(super) fn has(&self, cookie: &str) -> bool {
        cookie.starts_with(&*self.nonce) || self.of_session().iter().any(|name| is_part(cookie, name))
    }
}

/// Names of the cookies of several policies. A browser sends them with each request to their host, whichever route takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionCookies(HashSet<Box<str>>);

impl SessionCookies {
    /// Adds a name.
    pub fn insert(&mut self, name: &str) {
        self.0.insert(name.into());
    }

    /// Removes such cookies from a request.
    pub fn remove(&self, headers: &mut HeaderMap) {
        remove_cookies(headers, |name| self.has(name));
    }

    /// Whether a cookie has one of the names, or is a part of one: of a long value, or of one of several logins.
    fn has(&self, cookie: &str) -> bool {
        let is_hex = |part: &str| matches!(part.len(), 1 | 26) && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.0.contains(cookie) || cookie.rsplit_once('.').is_some_and(|(name, part)| is_hex(part) && self.0.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn cookies_of_all_policies_go_and_others_stay() {
        let policies = [CookieNames::new("a", None, None), CookieNames::new("b", Some("at"), None)];
        let mut cookies = SessionCookies::default();
        policies.iter().flat_map(|names| names.generated().chain(names.chosen())).for_each(|name| cookies.insert(name));
        let (flow, part) = (format!("{}.{}", policies[0].nonce, "0".repeat(26)), format!("{}.7", policies[1].id_token));
        let line = format!("x=1; {}=y; {flow}=z; at=v;{part}=w; at.page=2; AccessToken-00000000=3", policies[0].hmac);
        let mut headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(line).unwrap())]);
        cookies.remove(&mut headers);
        assert_eq!(headers[header::COOKIE], "x=1; at.page=2; AccessToken-00000000=3");
        headers.insert(header::COOKIE, HeaderValue::from_static("at=v"));
        cookies.remove(&mut headers);
        assert!(!headers.contains_key(header::COOKIE));
    }

    #[test]
    fn names_are_chosen_or_generated() {
        let names = CookieNames::new("a", None, None);
        assert_eq!((names.chosen().count(), names.generated().count()), (0, 6));
        let others = format!("IdToken-{}", "0".repeat(8));
        let names = CookieNames::new("a", Some("at"), Some(&others));
        assert_eq!(names.chosen().collect::<Vec<_>>(), ["at", &*others]);
        assert_eq!(names.generated().count(), 4);
    }
}
