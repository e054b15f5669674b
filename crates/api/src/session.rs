//! Session persistence (experimental in Gateway API).

use serde::Deserialize;

use super::duration::Duration;
use super::names::HeaderName;

/// Keeps a client's requests on one backend. Gateway API v1.7 has `cookie` and `header`; releases before it have `sessionName`,
/// `idleTimeout` and `cookieConfig`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionPersistence {
    /// Carrier of the session; a cookie by default.
    #[serde(rename = "type", default)]
    pub kind: SessionPersistenceType,
    /// When the session ends at the latest.
    #[serde(default)]
    pub absolute_timeout: Option<Duration>,
    /// The cookie, when `kind` is `Cookie`.
    #[serde(default)]
    pub cookie: Option<SessionCookie>,
    /// The header, when `kind` is `Header`.
    #[serde(default)]
    pub header: Option<SessionHeader>,
    /// The name of the cookie or header, before v1.7.
    #[serde(default)]
    pub session_name: Option<HeaderName>,
    /// Time after which an unused session ends, before v1.7.
    #[serde(default)]
    pub idle_timeout: Option<Duration>,
    /// The cookie, before v1.7.
    #[serde(default)]
    pub cookie_config: Option<OldSessionCookie>,
}

impl SessionPersistence {
    /// The name of the cookie or header, in either form; the gateway's choice when absent.
    pub fn name(&self) -> Option<&str> {
        let own = match self.kind {
            SessionPersistenceType::Cookie => self.cookie.as_ref().and_then(|cookie| cookie.name.as_deref()),
            SessionPersistenceType::Header => self.header.as_ref().map(|header| &*header.name),
        };
        own.or(self.session_name.as_deref())
    }

    /// The cookie's lifetime, in either form.
    pub fn cookie_lifetime(&self) -> CookieLifetime {
        let own = self.cookie.as_ref().map(|cookie| cookie.lifetime_type);
        own.or(self.cookie_config.as_ref().map(|cookie| cookie.lifetime_type)).unwrap_or_default()
    }
}

/// The cookie of a session, before Gateway API v1.7.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OldSessionCookie {
    /// `Session` by default.
    #[serde(default)]
    pub lifetime_type: CookieLifetime,
}

/// Carrier of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum SessionPersistenceType {
    /// A cookie.
    #[default]
    Cookie,
    /// A header.
    Header,
}

/// The cookie of a session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionCookie {
    /// The cookie's name; the gateway's choice when absent.
    #[serde(default)]
    pub name: Option<HeaderName>,
    /// The cookie's path; `/` by default.
    #[serde(default = "root")]
    pub path: String,
    /// `Session` by default.
    #[serde(default)]
    pub lifetime_type: CookieLifetime,
}

fn root() -> String {
    "/".to_owned()
}

/// How long a cookie lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum CookieLifetime {
    /// As long as `absoluteTimeout`.
    Permanent,
    /// As long as the client's session.
    #[default]
    Session,
}

/// The header of a session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SessionHeader {
    /// The header's name.
    pub name: HeaderName,
}
