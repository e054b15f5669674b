//! Session persistence (experimental in Gateway API).

use serde::Deserialize;

use super::duration::Duration;
use super::names::HeaderName;

/// Keeps a client's requests on one backend.
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
