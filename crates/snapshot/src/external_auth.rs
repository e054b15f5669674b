//! External authorization: the server that decides whether a request may pass.

use http::HeaderName;

use super::{ClusterKey, Failure};

/// An authorization server. Without its consent a request goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalAuth {
    /// Its endpoints, or why it cannot be asked: then no request passes.
    pub cluster: Result<ClusterKey, Failure>,
    /// How it is asked.
    pub protocol: AuthProtocol,
    /// Longest body that it is told, in bytes; 0 where it is told none.
    pub max_body: u64,
}

/// How an authorization server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthProtocol {
    /// By a request like the client's, but for its headers; 200 is consent.
    Http {
        /// Prefix of the path: empty, or from a slash to no slash.
        prefix: Box<str>,
        /// The client's headers that it is told, beside `Host` and `Authorization`.
        request_headers: Box<[HeaderName]>,
        /// The headers of its consent that the request gets; `None` for all that do not describe the answer itself.
        response_headers: Option<Box<[HeaderName]>>,
    },
    /// By Envoy's `ext_authz`.
    Grpc {
        /// The client's headers that it is told; `None` for all.
        request_headers: Option<Box<[HeaderName]>>,
    },
}
