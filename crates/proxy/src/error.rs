//! Reasons for which a request cannot be served.

mod flag;

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pailou_ai::{Api, Dialect};
use pailou_envoy_proto::LocalReply;
use pailou_picker::{PickError, QueueOutcome};

pub use self::flag::{Cause, Flag};
use crate::grpc_media_type::{accepts_grpc_web_text, is_grpc, is_grpc_web};

/// Message for a client whose request was broken off for a more important one.
pub(crate) const EVICTED: &str = "the request was broken off for more important ones; try again later";
/// The same for the operator.
pub(crate) const EVICTED_DETAIL: &str = "evicted for a request of a higher priority";
/// Time after which such a client may come again.
const EVICTED_RETRY_AFTER: Duration = Duration::from_secs(5);

/// A request that cannot be served.
#[derive(Clone, Debug)]
pub struct Error {
    /// Why, for logs.
    pub flag: Flag,
    /// The response's status.
    pub status: StatusCode,
    /// Why, for the client. Holds no credential, and nothing of the gateway's insides.
    pub message: String,
    /// Why in more detail, for the operator's log.
    pub detail: Option<String>,
    /// For programs: `model_not_found`.
    pub code: Option<&'static str>,
    /// When the client may come again.
    pub retry_after: Option<Duration>,
    /// The backend had accepted nothing of the request, so that another may be tried.
    pub retryable: bool,
    /// The answer of a server that the gateway asks, in its own words.
    pub local_reply: Option<Box<LocalReply>>,
    /// `WWW-Authenticate`, for a client that has to authenticate.
    pub challenge: Option<Box<HeaderValue>>,
    /// A limit charges money for a model that has no price.
    pub is_unpriced: bool,
    /// Why an InferencePool's picker sent the request to no endpoint.
    pub not_picked: Option<QueueOutcome>,
    /// Status for gRPC clients; `None` derives it from `status`.
    pub grpc_status: Option<u8>,
}

impl Error {
    /// An error of this flag, with the status that goes with it.
    pub fn new(flag: Flag, message: impl Into<String>) -> Self {
        Self {
            flag,
            status: flag.status(),
            message: message.into(),
            detail: None,
            code: None,
            retry_after: None,
            retryable: false,
            local_reply: None,
            is_unpriced: false,
            challenge: None,
            not_picked: None,
            grpc_status: None,
        }
    }

    /// Adds what only the operator is to read.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a code for programs.
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Says when the client may come again.
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// A request that a pool's picker sent to no endpoint: it is saturated, or the request waited in vain. `pool` is for the operator.
    pub(crate) fn not_picked(error: PickError, pool: &impl fmt::Display) -> Self {
        let (flag, message, retry_after) = match error {
            PickError::NoEndpoints => (Flag::NoEndpoint, "no backend is ready to serve this request", None),
            PickError::Saturated { retry_after } => {
                (Flag::Shed, "the model is busy and this request can wait; try again later", Some(retry_after))
            }
            PickError::Expired { retry_after } => (
                Flag::Shed,
                "the model is busy, and the request has waited for as long as it may; try again later",
                Some(retry_after),
            ),
            PickError::TimedOut => (Flag::Timeout, "the model was busy for as long as the request may take", None),
            PickError::ShuttingDown => {
                (Flag::Stopped, "the gateway stopped before the request was through; try again", Some(Duration::from_secs(1)))
            }
        };
        let not_picked = Some(error.outcome());
        Self { retry_after, not_picked, ..Self::new(flag, message).with_detail(format!("{pool}: {error}")) }
    }

    /// A request that was broken off for a more important one, before its response. `pool` is for the operator.
    pub(crate) fn evicted(pool: &impl fmt::Display) -> Self {
        let detail = format!("{pool}: {EVICTED_DETAIL}");
        let error = Self::new(Flag::Shed, EVICTED).with_detail(detail).with_retry_after(EVICTED_RETRY_AFTER);
        Self { not_picked: Some(QueueOutcome::Evicted), ..error }
    }

    /// The answer of an endpoint picker that refuses the request.
    pub(crate) fn local_reply(reply: LocalReply) -> Self {
        let flag = match reply.status {
            StatusCode::TOO_MANY_REQUESTS => Flag::Shed,
            StatusCode::SERVICE_UNAVAILABLE => Flag::NoEndpoint,
            _ => Flag::Picker,
        };
        let message = String::from_utf8_lossy(&reply.body).into_owned();
        let detail = format!("the endpoint picker answered {}: {}", reply.status, reply.details);
        let (status, local_reply) = (reply.status, Some(Box::new(reply)));
        Self { status, local_reply, ..Self::new(flag, message).with_detail(detail) }
    }

    /// The answer of an authorization server that refuses the request.
    pub(crate) fn denied(denial: LocalReply, server: &impl std::fmt::Display) -> Self {
        let detail = format!("the authorization server {server} answered {}", denial.status);
        let message = String::from_utf8_lossy(&denial.body).into_owned();
        let (status, local_reply) = (denial.status, Some(Box::new(denial)));
        Self { status, local_reply, ..Self::new(Flag::Forbidden, message).with_detail(detail) }
    }

    /// The answer of an external processor to the client.
    pub(crate) fn processed(reply: LocalReply, server: &impl std::fmt::Display) -> Self {
        let why = if reply.details.is_empty() { "" } else { ": " };
        let detail = format!("the external processor {server} answered {}{why}{}", reply.status, reply.details);
        let message = String::from_utf8_lossy(&reply.body).into_owned();
        let (status, local_reply) = (reply.status, Some(Box::new(reply)));
        Self { status, local_reply, ..Self::new(Flag::ExtProc, message).with_detail(detail) }
    }

    /// A model that nothing leads to, or that the client is not to know of: it learns no more, in OpenAI's words. `detail` tells which.
    pub(crate) fn unknown_model(model: &str, detail: &str) -> Self {
        let message = format!("The model `{}` does not exist or you do not have access to it.", Shortened(model));
        Self::new(Flag::NoRoute, message).with_code("model_not_found").with_detail(detail)
    }

    /// A model that the client may not use, and learns so.
    pub(crate) fn denied_model(model: &str) -> Self {
        let message = format!("You do not have access to the model `{}`.", Shortened(model));
        Self::new(Flag::Forbidden, message).with_code("model_not_found").with_detail("authorization denies the model")
    }

    /// A route that only the operator can mend: the client learns no more than that.
    pub(crate) fn misconfigured(detail: &str) -> Self {
        Self::new(Flag::Misconfigured, "this route cannot be served as it is configured").with_detail(detail)
    }
}

/// A name of the client's own, cut so that the answer stays small.
struct Shortened<'n>(&'n str);

impl fmt::Display for Shortened<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().take(128).try_for_each(|char| f.write_char(char))
    }
}

/// In whose terms an error is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A client of a model API.
    Model(Dialect),
    /// A client of the part of such an API that names no model: models, files, responses that are kept. Its errors have the same form.
    Objects(Dialect),
    /// A gRPC client.
    Grpc,
    /// A client of gRPC-Web.
    GrpcWeb {
        /// It wants responses in Base64.
        is_text: bool,
    },
    /// Any other.
    Other,
}

/// Anthropic's clients send it with every request.
static ANTHROPIC_VERSION: HeaderName = HeaderName::from_static("anthropic-version");

impl Audience {
    /// Kind of client, by path and headers.
    pub fn of(path: &str, headers: &HeaderMap) -> Self {
        match headers.get(header::CONTENT_TYPE) {
            Some(media_type) if is_grpc(media_type) => return Self::Grpc,
            Some(media_type) if is_grpc_web(media_type) => return Self::GrpcWeb { is_text: accepts_grpc_web_text(headers) },
            _ => {}
        }
        match Api::from_path(path) {
            None => Self::Other,
            Some(api) if api.names_model() => Self::Model(api.dialect()),
            // Both services have models and files at the same paths.
            Some(_) if headers.contains_key(&ANTHROPIC_VERSION) || path.starts_with("/anthropic/") => {
                Self::Objects(Dialect::Anthropic)
            }
            Some(api) => Self::Objects(api.dialect()),
        }
    }
}
