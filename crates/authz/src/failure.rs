//! Why there is no decision.

use http::StatusCode;
use pailou_envoy_proto::grpc::CallFailure;

/// An answer that decides nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server cannot decide, or is no authorization server.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// Its gRPC status is not OK.
    #[error("it answered with gRPC status {code}: {message}")]
    Grpc {
        /// The status.
        code: String,
        /// Its message.
        message: String,
    },
    /// The answer is not one message.
    #[error("its answer is not one gRPC message")]
    Framing,
    /// The message is none of the protocol's.
    #[error("its answer is unreadable: {0}")]
    Message(#[from] prost::DecodeError),
    /// It says itself that it failed.
    #[error("it reports a failure")]
    Said,
    /// It changes the query to what cannot be sent.
    #[error("its query parameters are not valid")]
    Query,
}

impl From<CallFailure> for Failure {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Status(status) => Self::Status(status),
            CallFailure::Grpc { code, message } => Self::Grpc { code, message },
            CallFailure::Framing => Self::Framing,
        }
    }
}
