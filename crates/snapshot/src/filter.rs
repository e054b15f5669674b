//! Filters: changes that a rule or one of its backends makes to requests and responses.

use std::sync::{Arc, LazyLock};

use http::{HeaderName, HeaderValue, StatusCode};
use regex::Regex;

use super::{BreakerId, ClusterId, Cors, FieldOrigin, HttpFilter, SecretValue, Template, ValueMatch, route::Failure};

/// The filters of a rule or of one backendRef, in the one order in which they are applied.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// HTTP filters, in the order of [`HttpFilter`]. Rules have them, backendRefs never.
    pub http: Vec<HttpFilter>,
    /// Edits of the request's headers.
    pub request_headers: Option<HeaderEdit>,
    /// Copies of the request sent elsewhere, their answers thrown away. They see header edits, never credentials.
    pub mirrors: Vec<Mirror>,
    /// Rewrites of host and path.
    pub rewrite: Option<Rewrite>,
    /// Credentials put in last of all, again at every attempt.
    pub credentials: Vec<Credential>,
    /// Edits of the response's headers.
    pub response_headers: Option<HeaderEdit>,
    /// Objects of SecurityPolicies that set HTTP filters, for those who explain.
    pub origins: Arc<[FieldOrigin]>,
}

/// No filters, as most rules and nearly all backends have.
static NONE: LazyLock<Arc<Filters>> = LazyLock::new(Arc::default);

impl Filters {
    /// The filters, to be held; all that filter nothing are one.
    pub fn shared(self) -> Arc<Self> {
        let Self { http, request_headers, mirrors, rewrite, credentials, response_headers, origins: _ } = &self;
        let is_any = request_headers.is_some() || rewrite.is_some() || response_headers.is_some();
        if is_any || !http.is_empty() || !mirrors.is_empty() || !credentials.is_empty() { Arc::new(self) } else { NONE.clone() }
    }

    /// The CORS settings, by a filter or by a policy.
    pub fn cors(&self) -> Option<&Cors> {
        self.http.iter().find_map(|filter| match filter {
            HttpFilter::Cors(cors) => Some(&**cors),
            _ => None,
        })
    }
}

/// Edits of headers, applied as set, then add, then remove (the order in which Gateway API lists them). `addIfAbsent` and `removeOnMatch` of a
/// ClientTrafficPolicy come after `add` and `remove`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdit {
    /// Replaced or put in.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Appended to what is there.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Put in where there is none.
    pub add_if_absent: Vec<(HeaderName, HeaderValue)>,
    /// Taken out.
    pub remove: Vec<HeaderName>,
    /// Taken out where the name matches.
    pub remove_matching: Vec<ValueMatch>,
    /// Replaced, put in or appended with values that depend on the request or the response; after `set` and `add`.
    pub templates: Vec<TemplateEdit>,
}

impl HeaderEdit {
    /// Whether it gives a header a value.
    pub fn sets(&self, name: &HeaderName) -> bool {
        let named = self.set.iter().chain(&self.add).chain(&self.add_if_absent).map(|(name, _)| name);
        named.chain(self.templates.iter().map(|template| &template.name)).any(|set| set == name)
    }

    /// Whether it takes a header out.
    pub fn removes(&self, name: &HeaderName) -> bool {
        self.remove.contains(name) || self.remove_matching.iter().any(|condition| condition.matches(name.as_str()))
    }
}

/// A header whose value has command operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateEdit {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: Template,
    /// Treatment of a header of the name.
    pub action: HeaderAction,
}

/// Treatment of a header that is given a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderAction {
    /// The value replaces one that is there.
    Set,
    /// The value is appended to what is there.
    Add,
    /// A value that is there stays.
    AddIfAbsent,
}

/// An answer that sends the client elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`; the request's own where absent.
    pub scheme: Option<Arc<str>>,
    /// The host; the request's own where absent.
    pub hostname: Option<Arc<str>>,
    /// The path, rewritten.
    pub path: Option<PathRewrite>,
    /// An explicit port. Absent: the scheme's well-known port where a scheme is given, else the listener's; ports 80 (http)
    /// and 443 (https) are left out of the location.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// An answer that the gateway gives itself (`HTTPRouteFilter` `directResponse`).
#[derive(Clone, Debug)]
pub struct DirectResponse {
    /// The status.
    pub status: StatusCode,
    /// The body, at most 4096 bytes by its specification.
    pub body: bytes::Bytes,
    /// The body where it has command operators.
    pub template: Option<Template>,
    /// The body's type.
    pub content_type: Option<HeaderValue>,
    /// Edits of the response's headers.
    pub headers: Option<HeaderEdit>,
}

/// Rewrites of a request on its way to the backend.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// The `Host` that the backend sees; the client's is appended to `X-Forwarded-Host`.
    pub host: Option<HostRewrite>,
    /// The path that the backend sees.
    pub path: Option<PathRewrite>,
}

/// Source of the new `Host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRewrite {
    /// This name.
    Name(HeaderValue),
    /// The value of this request header, where there is one (`urlRewrite.hostname.type: Header`).
    Header(HeaderName),
    /// The host name of the endpoint chosen (`urlRewrite.hostname.type: Backend`).
    Backend,
}

/// How a path is rewritten. The query stays.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// The whole path becomes this.
    Full(Arc<str>),
    /// The prefix that the rule's match names becomes this (`/v1` → `/api/v1`).
    Prefix(Arc<str>),
    /// Every match of the pattern becomes the substitution, in which `\1` names a group (already in the `regex` crate's
    /// `${1}` form here).
    Regex(Regex, Arc<str>),
}

impl PartialEq for PathRewrite {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Full(a), Self::Full(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a, x), Self::Regex(b, y)) => a.as_str() == b.as_str() && x == y,
            _ => false,
        }
    }
}

impl Eq for PathRewrite {}

/// A copy of requests sent to another backend.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Backend of the copy; a mirror whose backend cannot be had is left out, and the route's condition says so.
    pub cluster: ClusterId,
    /// The breaker that counts the copies.
    pub breaker: BreakerId,
    /// The share of requests that is copied.
    pub fraction: Fraction,
}

/// A share, `numerator` of `denominator`; 1 of 1 is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    /// At most the denominator.
    pub numerator: u32,
    /// At least 1.
    pub denominator: u32,
}

/// A header value that the client never sees (`HTTPRouteFilter` `credentialInjection`).
#[derive(Clone, Debug)]
pub struct Credential {
    /// The header, `Authorization` unless configured.
    pub header: HeaderName,
    /// Whether the client's own header is replaced; if not, a request that has one keeps it.
    pub overwrite: bool,
    /// The value that goes in, or why there is none (the rule then answers 500: it never forwards without).
    pub value: Result<SecretValue, Failure>,
}
