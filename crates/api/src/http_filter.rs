//! Filters of HTTPRoutes.

use serde::Deserialize;

use super::external_auth::ExternalAuth;
use super::header_filter::HeaderFilter;
use super::names::{HeaderName, PreciseHostname};
use super::path_modifier::HttpPathModifier;
use super::port::PortNumber;
use super::refs::{BackendObjectReference, LocalObjectReference};

/// One step in the handling of a request or response.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "RawFilter")]
pub enum HttpRouteFilter {
    /// Changes request headers.
    RequestHeaderModifier(HeaderFilter),
    /// Changes response headers.
    ResponseHeaderModifier(HeaderFilter),
    /// Sends a copy elsewhere.
    RequestMirror(RequestMirror),
    /// Answers with a redirect.
    RequestRedirect(RequestRedirect),
    /// Changes host or path on the way to the backend.
    UrlRewrite(UrlRewrite),
    /// Answers preflights and marks responses for browsers.
    Cors(Cors),
    /// An object of another API, such as an HTTPRouteFilter.
    ExtensionRef(LocalObjectReference),
    /// Asks another service for permission (experimental).
    ExternalAuth(ExternalAuth),
}

impl HttpRouteFilter {
    /// The filter's `type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            HttpRouteFilter::RequestHeaderModifier(_) => "RequestHeaderModifier",
            HttpRouteFilter::ResponseHeaderModifier(_) => "ResponseHeaderModifier",
            HttpRouteFilter::RequestMirror(_) => "RequestMirror",
            HttpRouteFilter::RequestRedirect(_) => "RequestRedirect",
            HttpRouteFilter::UrlRewrite(_) => "URLRewrite",
            HttpRouteFilter::Cors(_) => "CORS",
            HttpRouteFilter::ExtensionRef(_) => "ExtensionRef",
            HttpRouteFilter::ExternalAuth(_) => "ExternalAuth",
        }
    }
}

/// A filter whose `type` and fields do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFilter {
    /// The field that belongs to the type is absent.
    #[error("a filter of type {kind} needs the field {field}")]
    Missing {
        /// The filter's type.
        kind: &'static str,
        /// The field it needs.
        field: &'static str,
    },
    /// A field of another type is there.
    #[error("a filter of type {kind} must not have the field {field}: make it a second filter, or change the type")]
    Foreign {
        /// The filter's type.
        kind: &'static str,
        /// The field of another type.
        field: &'static str,
    },
}

#[derive(Deserialize)]
enum FilterType {
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestMirror,
    RequestRedirect,
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
    #[serde(rename = "CORS")]
    Cors,
    ExtensionRef,
    ExternalAuth,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFilter {
    #[serde(rename = "type")]
    kind: FilterType,
    #[serde(default)]
    request_header_modifier: Option<HeaderFilter>,
    #[serde(default)]
    response_header_modifier: Option<HeaderFilter>,
    #[serde(default)]
    request_mirror: Option<RequestMirror>,
    #[serde(default)]
    request_redirect: Option<RequestRedirect>,
    #[serde(default)]
    url_rewrite: Option<UrlRewrite>,
    #[serde(default)]
    cors: Option<Cors>,
    #[serde(default)]
    extension_ref: Option<LocalObjectReference>,
    #[serde(default)]
    external_auth: Option<ExternalAuth>,
}

impl TryFrom<RawFilter> for HttpRouteFilter {
    type Error = InvalidFilter;

    fn try_from(mut raw: RawFilter) -> Result<HttpRouteFilter, InvalidFilter> {
        let (filter, kind, field) = match raw.kind {
            FilterType::RequestHeaderModifier => (
                raw.request_header_modifier.take().map(HttpRouteFilter::RequestHeaderModifier),
                "RequestHeaderModifier",
                "requestHeaderModifier",
            ),
            FilterType::ResponseHeaderModifier => (
                raw.response_header_modifier.take().map(HttpRouteFilter::ResponseHeaderModifier),
                "ResponseHeaderModifier",
                "responseHeaderModifier",
            ),
            FilterType::RequestMirror => {
                (raw.request_mirror.take().map(HttpRouteFilter::RequestMirror), "RequestMirror", "requestMirror")
            }
            FilterType::RequestRedirect => {
                (raw.request_redirect.take().map(HttpRouteFilter::RequestRedirect), "RequestRedirect", "requestRedirect")
            }
            FilterType::UrlRewrite => (raw.url_rewrite.take().map(HttpRouteFilter::UrlRewrite), "URLRewrite", "urlRewrite"),
            FilterType::Cors => (raw.cors.take().map(HttpRouteFilter::Cors), "CORS", "cors"),
            FilterType::ExtensionRef => {
                (raw.extension_ref.take().map(HttpRouteFilter::ExtensionRef), "ExtensionRef", "extensionRef")
            }
            FilterType::ExternalAuth => {
                (raw.external_auth.take().map(HttpRouteFilter::ExternalAuth), "ExternalAuth", "externalAuth")
            }
        };
        let filter = filter.ok_or(InvalidFilter::Missing { kind, field })?;
        match raw.any_field() {
            Some(field) => Err(InvalidFilter::Foreign { kind, field }),
            None => Ok(filter),
        }
    }
}

impl RawFilter {
    /// A field that is still there after the filter's own was taken.
    fn any_field(&self) -> Option<&'static str> {
        [
            (self.request_header_modifier.is_some(), "requestHeaderModifier"),
            (self.response_header_modifier.is_some(), "responseHeaderModifier"),
            (self.request_mirror.is_some(), "requestMirror"),
            (self.request_redirect.is_some(), "requestRedirect"),
            (self.url_rewrite.is_some(), "urlRewrite"),
            (self.cors.is_some(), "cors"),
            (self.extension_ref.is_some(), "extensionRef"),
            (self.external_auth.is_some(), "externalAuth"),
        ]
        .into_iter()
        .find_map(|(there, field)| there.then_some(field))
    }
}

/// Sends a copy of the request to another backend and drops its response.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestMirror {
    /// Destination of the copy.
    pub backend_ref: BackendObjectReference,
    /// Share of requests, 0 to 100; all of them when neither this nor `fraction` is set.
    #[serde(default)]
    pub percent: Option<u32>,
    /// Share of requests.
    #[serde(default)]
    pub fraction: Option<Fraction>,
}

/// A share: `numerator` of `denominator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Fraction {
    /// Not greater than the denominator.
    pub numerator: u32,
    /// At least 1; 100 by default.
    #[serde(default = "hundred")]
    pub denominator: u32,
}

fn hundred() -> u32 {
    100
}

/// A redirect; what is absent stays as in the request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestRedirect {
    /// `http` or `https`.
    #[serde(default)]
    pub scheme: Option<RedirectScheme>,
    /// The new host.
    #[serde(default)]
    pub hostname: Option<PreciseHostname>,
    /// The new path.
    #[serde(default)]
    pub path: Option<HttpPathModifier>,
    /// The new port.
    #[serde(default)]
    pub port: Option<PortNumber>,
    /// 301, 302 (the default), 303, 307 or 308.
    #[serde(default = "found")]
    pub status_code: u16,
}

fn found() -> u16 {
    302
}

/// The scheme of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedirectScheme {
    /// `http`.
    Http,
    /// `https`.
    Https,
}

/// Changes host and path on the way to the backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct UrlRewrite {
    /// The new Host.
    #[serde(default)]
    pub hostname: Option<PreciseHostname>,
    /// The new path.
    #[serde(default)]
    pub path: Option<HttpPathModifier>,
}

/// Cross-origin resource sharing (the Fetch standard's protocol).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cors {
    /// At most 64 origins, with wildcards, or `*` alone.
    #[serde(default)]
    pub allow_origins: Vec<String>,
    /// Whether credentials are allowed; false by default.
    #[serde(default)]
    pub allow_credentials: Option<bool>,
    /// Methods, or `*` alone.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// At most 64 headers, or `*` alone.
    #[serde(default)]
    pub allow_headers: Vec<HeaderName>,
    /// At most 64 headers.
    #[serde(default)]
    pub expose_headers: Vec<HeaderName>,
    /// Seconds that a preflight's answer may be cached, at least 1; 5 by default.
    #[serde(default = "five")]
    pub max_age: u32,
}

fn five() -> u32 {
    5
}
