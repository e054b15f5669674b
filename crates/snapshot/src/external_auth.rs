//! External authorization: the server that decides whether a request may pass.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, StatusCode};

use super::{ClusterKey, Failure, HiddenText, RouteName};

/// An authorization server, as a rule or a listener asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAuth {
    /// Its clusters by weight, or why it cannot be asked: then no request passes.
    pub backends: Result<Box<[(u32, ClusterKey)]>, Failure>,
    /// The route, for a server that gets it.
    pub route: Option<Box<RouteMetadata>>,
    /// The policy's or filter's settings.
    pub settings: Arc<AuthSettings>,
}

/// Settings of an authorization server. Without its consent a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthSettings {
    /// How it is asked.
    pub protocol: AuthProtocol,
    /// Longest body that it gets, in bytes; 0 where it gets none.
    pub max_body: u64,
    /// Time for a decision.
    pub timeout: Duration,
    /// Time for a connection to it.
    pub connect_timeout: Duration,
    /// A request passes where there is no decision.
    pub fail_open: bool,
    /// The route is chosen again with what the server has made of the request.
    pub recompute_route: bool,
    /// Status for clients where there is no decision.
    pub status_on_error: StatusCode,
}

impl AuthSettings {
    /// Time for a decision, unless a policy gives another: Envoy Gateway's.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
}

/// How an authorization server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthProtocol {
    /// By a request like the client's, but for its headers; 200 is consent.
    Http {
        /// Path of the request.
        path: AuthPath,
        /// The client's headers that it gets, beside `Host` and `Authorization`.
        request_headers: Box<[HeaderName]>,
        /// The headers of its consent that the request gets; `None` for all that do not describe the answer itself.
        response_headers: Option<Box<[HeaderName]>>,
    },
    /// By Envoy's `ext_authz`.
    Grpc {
        /// The client's headers that it gets; `None` for all.
        request_headers: Option<Box<[HeaderName]>>,
        /// Texts of the configuration that it gets, by name.
        context_extensions: ContextExtensions,
    },
}

/// Texts of the configuration, by name.
pub type ContextExtensions = Box<[(Box<str>, HiddenText)]>;

/// Path of a request to an authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthPath {
    /// The client's path, after this: empty, or from a slash to no slash.
    Prefix(Box<str>),
    /// This path in place of the client's.
    Fixed(Box<str>),
}

/// A route, as Envoy Gateway describes it to an authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteMetadata {
    /// The route and its rule.
    pub route: RouteName,
    /// Its annotations of Envoy Gateway, without the group.
    pub annotations: Box<[(Box<str>, Box<str>)]>,
}
