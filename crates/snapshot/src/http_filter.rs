//! HTTP filters: steps that may answer a request before its backend sees it, or change the response.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Method, StatusCode};
use pailou_auth::{ApiKeyAuth, Authorization, BasicAuth, Csrf, GeoNeeds, JwtAuth};
use pailou_limits::{Cost, RateLimits};

use super::{BandwidthLimit, ExtProc, ExternalAuth, Fraction, OidcFilter, Redirect, ValueMatch};

/// A filter. Requests pass the filters in the order of this list, which is Envoy Gateway's (`EnvoyProxy` `filterOrder`).
/// Responses pass external processors first, the last one before the others, as in Envoy; then the other filters in the order of
/// this list, since an overridden response gets the headers that the other filters add, and compression takes the body that is sent.
#[derive(Clone, Debug)]
pub enum HttpFilter {
    /// Replaces responses. First: responses of the other filters (401, 403, 429) can be replaced too.
    ResponseOverride(Arc<ResponseOverride>),
    /// Delays and fails requests. Before all that costs something: a fault test needs no credentials.
    Fault(Arc<Fault>),
    /// Answers CORS preflights. Before authentication: a browser sends them without credentials.
    Cors(Arc<Cors>),
    /// Refuses requests that another site made a browser send.
    Csrf(Arc<CsrfFilter>),
    /// Asks a server whether the request may pass. A rule may have several, which are asked in the rule's order.
    ExternalAuth(Arc<ExternalAuth>),
    /// Asks for an API key. Each of several authenticators has to be satisfied.
    ApiKeyAuth(Arc<ApiKeyAuth>),
    /// Asks for a name and a password.
    BasicAuth(Arc<BasicAuth>),
    /// Sends clients without a session to log in. Before tokens are asked for: those of the session can be.
    Oidc(Arc<OidcFilter>),
    /// Asks for a JSON Web Token.
    Jwt(Arc<JwtAuth>),
    /// Has a server process requests and responses. After authentication. A rule may have several, in the policy's order.
    ExtProc(Arc<ExtProc>),
    /// Judges by rules. After authentication: rules look at claims, and at headers that authentication sets.
    Authorization(Arc<AuthorizationFilter>),
    /// Limits requests and tokens. After authorization: a request that may not pass costs nothing. Limits of the process come before those
    /// of all replicas.
    RateLimit(Arc<RateLimitFilter>),
    /// Compresses responses. Last but one: it takes the body that goes out.
    Compressor(Arc<Compressor>),
    /// Slows bodies down. Last: it counts the bytes that go out.
    BandwidthLimit(Arc<BandwidthLimit>),
}

impl HttpFilter {
    /// Rank of the filter in the order in which requests pass. Filters of one kind share it.
    pub fn rank(&self) -> u8 {
        match self {
            Self::ResponseOverride(_) => 0,
            Self::Fault(_) => 1,
            Self::Cors(_) => 2,
            Self::Csrf(_) => 3,
            Self::ExternalAuth(_) => 4,
            Self::ApiKeyAuth(_) => 5,
            Self::BasicAuth(_) => 6,
            Self::Oidc(_) => 7,
            Self::Jwt(_) => 8,
            Self::ExtProc(_) => 9,
            Self::Authorization(_) => 10,
            Self::RateLimit(_) => 11,
            Self::Compressor(_) => 12,
            Self::BandwidthLimit(_) => 13,
        }
    }
}

impl HttpFilter {
    /// The filter's name, as the field that asks for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ResponseOverride(_) => "responseOverride",
            Self::Fault(_) => "faultInjection",
            Self::Cors(_) => "cors",
            Self::Csrf(_) => "csrf",
            Self::ExternalAuth(_) => "extAuth",
            Self::ApiKeyAuth(_) => "apiKeyAuth",
            Self::BasicAuth(_) => "basicAuth",
            Self::Oidc(_) => "oidc",
            Self::Jwt(_) => "jwt",
            Self::ExtProc(_) => "extProc",
            Self::Authorization(_) => "authorization",
            Self::RateLimit(_) => "rateLimit",
            Self::Compressor(_) => "compression",
            Self::BandwidthLimit(_) => "bandwidthLimit",
        }
    }
}

/// Protection from cross-site request forgery (SecurityPolicy `csrf`).
#[derive(Clone, Debug)]
pub struct CsrfFilter {
    /// Origins allowed.
    pub settings: Csrf,
    /// Share of requests that are judged and pass all the same.
    pub shadow: Option<Fraction>,
}

/// Rules (SecurityPolicy `authorization`).
#[derive(Clone, Debug)]
pub struct AuthorizationFilter {
    /// The rules.
    pub rules: Authorization,
    /// A rule looks at the model, which the body names.
    pub needs_model: bool,
    /// Facts of the place of the client's address that rules look at.
    pub geo_needs: GeoNeeds,
    /// Response to a client that may not use the model, where rules look at it.
    pub denied_model: DeniedModel,
}

/// Response to a client that may not use the model which it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeniedModel {
    /// 403, as for any other request.
    #[default]
    Unnamed,
    /// 403, which tells that it is the model.
    Forbidden,
    /// 404, as for a model that does not exist.
    NotFound,
}

impl AuthorizationFilter {
    /// A filter of these rules.
    pub fn new(rules: Authorization) -> Self {
        let needs_model = MODEL_HEADERS.into_iter().any(|name| rules.names_header(name));
        let geo_needs = rules.geo_needs();
        Self { rules, needs_model, geo_needs, denied_model: DeniedModel::default() }
    }
}

/// Limits (BackendTrafficPolicy `rateLimit`).
#[derive(Clone, Debug)]
pub struct RateLimitFilter {
    /// The rules.
    pub limits: RateLimits,
    /// The counters are the process's own (`local`).
    pub is_local: bool,
    /// A rule looks at the model, or expects the cost of a response by the request's body.
    pub needs_body: bool,
    /// The backend whose limits they are, by kind, namespace and name; `None` of a policy's.
    pub backend: Option<Arc<str>>,
}

impl RateLimitFilter {
    /// A filter of these rules.
    pub fn new(limits: RateLimits, is_local: bool) -> Self {
        let mut names = limits.rules.iter().flat_map(|rule| &rule.selectors).flat_map(|selector| &selector.headers);
        let counts_tokens = limits.rules.iter().any(|rule| matches!(rule.response_cost, Some(Cost::Tokens(_) | Cost::Llm(_))));
        let needs_body = counts_tokens || names.any(|(name, _)| is_model_header(name));
        Self { limits, is_local, needs_body, backend: None }
    }
}

/// Headers that bear the model of a request's body: ours, and Envoy AI Gateway's for the same.
pub const MODEL_HEADERS: [&str; 3] = ["x-gateway-model-name", "x-gateway-base-model-name", "x-ai-eg-model"];

/// Whether a header is one of [`MODEL_HEADERS`].
pub fn is_model_header(name: &HeaderName) -> bool {
    MODEL_HEADERS.contains(&name.as_str())
}

/// Replacements of responses (BackendTrafficPolicy `responseOverride`). The first that matches counts.
#[derive(Clone, Debug)]
pub struct ResponseOverride(pub Vec<OverrideRule>);

/// One replacement.
#[derive(Clone, Debug)]
pub struct OverrideRule {
    /// Statuses of responses that it replaces, as inclusive ranges; none means any status.
    pub statuses: Vec<(u16, u16)>,
    /// Headers that a response needs to have, all of them.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// Responses of the gateway (`true`), of backends (`false`), of both (`None`).
    pub local: Option<bool>,
    /// The response that the client gets.
    pub with: OverrideResponse,
}

/// Response that takes the place of another.
#[derive(Clone, Debug)]
pub enum OverrideResponse {
    /// A response of its own. It has none of the original's headers.
    Response {
        /// Status; `None` keeps the original's.
        status: Option<StatusCode>,
        /// Body, at most 4096 bytes before it is filled in.
        body: Template,
        /// `Content-Type`.
        content_type: Option<HeaderValue>,
        /// Headers set, then headers added.
        set: Vec<(HeaderName, Template)>,
        /// Headers added.
        add: Vec<(HeaderName, Template)>,
    },
    /// A redirect.
    Redirect(Redirect),
}

/// Text with Envoy's command operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(pub Vec<TemplatePart>);

/// Part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplatePart {
    /// Text as it stands.
    Text(Arc<str>),
    /// A header's value that is no text, as it stands. The compiler makes none.
    Bytes(bytes::Bytes),
    /// `%RESPONSE_CODE%`: the original status.
    ResponseCode,
    /// `%LOCAL_REPLY_BODY%`: the gateway's own text; empty for responses of backends.
    LocalReplyBody,
    /// `%REQ(name?other):length%`: a request header, or another where it is absent, cut at a length in bytes.
    RequestHeader(HeaderName, Option<HeaderName>, Option<usize>),
    /// `%REQ(name?:path):length%`: a request header, or a fact of the request where it is absent.
    RequestHeaderOr(HeaderName, RequestFact, Option<usize>),
    /// A fact of the request, cut at a length in bytes.
    Request(RequestFact, Option<usize>),
    /// `%RESP(name?other):length%`: the same of the original response.
    ResponseHeader(HeaderName, Option<HeaderName>, Option<usize>),
}

/// Facts of a request beside its headers, by Envoy's command operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFact {
    /// `%REQ(:METHOD)%`.
    Method,
    /// `%REQ(:PATH)%`: path and query.
    Path,
    /// `%REQ(:AUTHORITY)%`.
    Authority,
    /// `%REQ(:SCHEME)%`.
    Scheme,
    /// `%PROTOCOL%`: the client's HTTP version.
    Protocol,
    /// `%DOWNSTREAM_REMOTE_ADDRESS%`: the other end of the client's connection.
    ClientAddress,
    /// The same without port.
    ClientIp,
    /// Its port.
    ClientPort,
    /// `%DOWNSTREAM_LOCAL_ADDRESS%`: the gateway's end of it.
    LocalAddress,
    /// The same without port.
    LocalIp,
    /// Its port.
    LocalPort,
    /// `%REQUESTED_SERVER_NAME%`: the server name asked for in TLS.
    ServerName,
    /// `%ROUTE_NAME%`: namespace, name and rule of the route.
    RouteName,
    /// `%START_TIME%`, in UTC, to the millisecond.
    StartTime,
}

/// Injected faults (BackendTrafficPolicy `faultInjection`). The delay comes first; each has a share of requests of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Wait, and the share of requests that wait.
    pub delay: Option<(Duration, Fraction)>,
    /// Failure, and the share of requests that fail.
    pub abort: Option<(Abort, Fraction)>,
}

/// Failure of an aborted request. Clients of the other protocol get the corresponding status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// HTTP status, 200 to 600.
    Http(StatusCode),
    /// gRPC status, 0 to 16.
    Grpc(u8),
}

/// Compression of responses (BackendTrafficPolicy `compressor`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compressor(pub Vec<Compression>);

/// One way to compress. Among those that a client accepts equally the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// The coding.
    pub coding: ContentCoding,
    /// Shorter responses stay as they are, in bytes.
    pub min_content_length: u64,
}

/// Codings of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

/// Cross-origin resource sharing, as the CORS filter of an HTTPRoute or a SecurityPolicy sets it.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// Origins allowed.
    pub allow_origins: Vec<CorsOrigin>,
    /// `Access-Control-Allow-Credentials: true` is sent; false is never sent.
    pub allow_credentials: bool,
    /// Methods allowed; `None` in the list's place of `*`.
    pub allow_methods: Vec<Method>,
    /// Any method is allowed.
    pub any_method: bool,
    /// Request headers allowed.
    pub allow_headers: Vec<HeaderName>,
    /// Any request header is allowed.
    pub any_header: bool,
    /// Response headers that scripts may read (`*` stands for itself).
    pub expose_headers: Vec<Arc<str>>,
    /// How long a preflight's answer holds, seconds. Default: 5.
    pub max_age: u32,
}

impl Cors {
    /// Whether an origin is allowed, as a request's `Origin` has it.
    pub fn allows_origin(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.allow_origins.iter().any(|allowed| allowed.matches(&origin))
    }
}

/// An origin allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigin {
    /// `*`.
    Any,
    /// Just this, in lower case: `https://app.example.com`.
    Exact(Arc<str>),
    /// `https://*.example.com`: what stands before and after the asterisk, in lower case. It spans labels of a host name; at the end a
    /// whole host, with any port.
    Wildcard {
        /// Up to the asterisk.
        prefix: Arc<str>,
        /// From the asterisk on.
        suffix: Arc<str>,
    },
}

impl CorsOrigin {
    /// Whether an origin in lower case is meant.
    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *origin,
            Self::Wildcard { prefix, suffix } => {
                let spanned = origin.strip_prefix(&**prefix).and_then(|rest| rest.strip_suffix(&**suffix));
                spanned.is_some_and(|spanned| is_host_part(spanned) || suffix.is_empty() && is_host_and_port(spanned))
            }
        }
    }
}

/// Whether a text can be part of a host name. No other letter may stand for the asterisk: `https://evil/.example.com` is no host under
/// `example.com`.
fn is_host_part(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}

fn is_host_and_port(text: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        let is_address = !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        return is_address && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
    }
    text.rsplit_once(':').is_some_and(|(host, port)| is_host_part(host) && is_port(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(prefix: &str, suffix: &str, origin: &str) -> bool {
        let allow_origins = vec![CorsOrigin::Wildcard { prefix: prefix.into(), suffix: suffix.into() }];
        Cors { allow_origins, ..Cors::default() }.allows_origin(origin)
    }

    #[test]
    fn an_asterisk_stands_for_part_of_a_host_and_for_nothing_else() {
        for origin in ["https://x.a", "https://x.y.a", "https://X-1.a"] {
            assert!(allows("https://", ".a", origin), "{origin}");
        }
        for origin in [
            "https://evil/.a",
            "https://evil?.a",
            "https://evil#.a",
            "https://u@.a",
            "https://evil:1.a",
            "https://.a",
            "https://x\\.a",
        ] {
            assert!(!allows("https://", ".a", origin), "{origin}");
        }
        assert!(allows("https://", ".a:8443", "https://x.a:8443") && !allows("https://", ".a", "https://x.a:8443"));
    }

    #[test]
    fn an_asterisk_at_the_end_stands_for_a_host_with_any_port() {
        for origin in ["https://x.a", "https://x.a:8443", "https://[::1]", "https://[::1]:8443"] {
            assert!(allows("https://", "", origin), "{origin}");
        }
        for origin in [
            "http://x.a",
            "https://",
            "https://x/",
            "https://x:",
            "https://x:y",
            "https://x:123456",
            "https://[::1]x",
            "https://[]",
        ] {
            assert!(!allows("https://", "", origin), "{origin}");
        }
    }
}
