//! HTTPRouteFilter: what Envoy Gateway adds to HTTPRoute's filters.

use serde::Deserialize;

use super::body::CustomResponseBody;
use crate::header_filter::HeaderFilter;
use crate::http_match::MatchType;
use crate::meta::Resource;
use crate::refs::SecretObjectReference;
use crate::unsupported::{Unsupported, unsupported_fields};

/// `gateway.envoyproxy.io/v1alpha1` HTTPRouteFilter.
pub type EnvoyHttpRouteFilter = Resource<EnvoyHttpRouteFilterSpec>;

/// `spec` of an HTTPRouteFilter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyHttpRouteFilterSpec {
    /// Puts a credential into a header of the request.
    #[serde(default)]
    pub credential_injection: Option<CredentialInjection>,
    /// Rewrites host and path in more ways than URLRewrite has.
    #[serde(default)]
    pub url_rewrite: Option<EnvoyUrlRewrite>,
    /// Answers in the backend's place.
    #[serde(default)]
    pub direct_response: Option<DirectResponse>,
    /// Further conditions on the rule, at most 8.
    #[serde(default)]
    pub matches: Vec<EnvoyRouteMatch>,
}

unsupported_fields!(EnvoyHttpRouteFilterSpec,
    "urlRewrite.hostname.pathRegex" => |spec| spec
        .url_rewrite
        .as_ref()
        .and_then(|rewrite| rewrite.hostname.as_ref())
        .is_some_and(|hostname| matches!(hostname, EnvoyHostRewrite::PathRegex(_))),
    "urlRewrite.appendXForwardedHost" => |spec| spec
        .url_rewrite
        .as_ref()
        .is_some_and(|rewrite| rewrite.append_x_forwarded_host.is_some()),
);

/// Puts a credential into a header of the request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CredentialInjection {
    /// `Authorization` when absent.
    #[serde(default)]
    pub header: Option<String>,
    /// Whether a header that the client sent is replaced; when false, it is left and nothing is injected.
    #[serde(default)]
    pub overwrite: bool,
    /// Location of the credential.
    pub credential: InjectedCredential,
}

/// Location of an injected credential.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InjectedCredential {
    /// A Secret; the value is under its key `credential`.
    pub value_ref: SecretObjectReference,
}

/// Rewrites host and path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyUrlRewrite {
    /// The new Host.
    #[serde(default)]
    pub hostname: Option<EnvoyHostRewrite>,
    /// The new path.
    #[serde(default)]
    pub path: Option<EnvoyPathRewrite>,
    /// Whether the old Host is added to X-Forwarded-Host.
    #[serde(default)]
    pub append_x_forwarded_host: Option<Unsupported>,
}

/// Source of a rewritten Host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawHostRewrite")]
pub enum EnvoyHostRewrite {
    /// From this request header.
    Header(String),
    /// From the endpoint that was picked.
    Backend,
    /// From the path, by a regular expression.
    PathRegex(Unsupported),
}

/// A host rewrite whose `type` and fields do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a hostname rewrite of type {0} needs exactly the fields of that type (Header: header, PathRegex: pathRegex, Backend: none)"
)]
pub struct InvalidHostRewrite(&'static str);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawHostRewrite {
    #[serde(rename = "type")]
    kind: HostRewriteType,
    #[serde(default)]
    header: Option<String>,
    #[serde(default)]
    path_regex: Option<Unsupported>,
}

#[derive(Deserialize)]
enum HostRewriteType {
    Header,
    Backend,
    PathRegex,
}

impl TryFrom<RawHostRewrite> for EnvoyHostRewrite {
    type Error = InvalidHostRewrite;

    fn try_from(raw: RawHostRewrite) -> Result<EnvoyHostRewrite, InvalidHostRewrite> {
        match (raw.kind, raw.header, raw.path_regex) {
            (HostRewriteType::Header, Some(header), None) => Ok(EnvoyHostRewrite::Header(header)),
            (HostRewriteType::Backend, None, None) => Ok(EnvoyHostRewrite::Backend),
            (HostRewriteType::PathRegex, None, Some(regex)) => Ok(EnvoyHostRewrite::PathRegex(regex)),
            (HostRewriteType::Header, ..) => Err(InvalidHostRewrite("Header")),
            (HostRewriteType::Backend, ..) => Err(InvalidHostRewrite("Backend")),
            (HostRewriteType::PathRegex, ..) => Err(InvalidHostRewrite("PathRegex")),
        }
    }
}

/// A rewritten path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyPathRewrite {
    /// `ReplaceRegexMatch`, the only one.
    #[serde(rename = "type")]
    pub kind: EnvoyPathRewriteType,
    /// The expression and what replaces it.
    pub replace_regex_match: ReplaceRegexMatch,
}

/// How Envoy Gateway rewrites a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum EnvoyPathRewriteType {
    /// Every match of an expression is replaced.
    ReplaceRegexMatch,
}

/// A regular expression and what replaces its matches.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReplaceRegexMatch {
    /// RE2 syntax.
    pub pattern: String,
    /// With `\1` and so on for groups.
    pub substitution: String,
}

/// Answers in the backend's place.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectResponse {
    /// The Content-Type.
    #[serde(default)]
    pub content_type: Option<String>,
    /// The body; empty when absent.
    #[serde(default)]
    pub body: Option<CustomResponseBody>,
    /// 200 when absent.
    #[serde(default)]
    pub status_code: Option<u16>,
    /// Further response headers.
    #[serde(default)]
    pub header: Option<HeaderFilter>,
}

/// Further conditions on a rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EnvoyRouteMatch {
    /// Cookies that must all match, 1 to 16.
    #[serde(default)]
    pub cookies: Vec<CookieMatch>,
}

/// A condition on a cookie.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CookieMatch {
    /// `Exact` by default.
    #[serde(rename = "type", default)]
    pub kind: MatchType,
    /// The cookie's name.
    pub name: String,
    /// The value or expression.
    pub value: String,
}
