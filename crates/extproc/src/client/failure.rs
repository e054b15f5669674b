//! Why a picker chose nothing.

use http::StatusCode;
use tonic::Status;

use crate::endpoints::NotAnEndpoint;

/// Why a picker chose nothing. Whether that fails the request is for its pool's failure mode to say.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Its answer is not gRPC.
    #[error("the endpoint picker answered {0}, not gRPC")]
    NotGrpc(StatusCode),
    /// It ended the conversation with an error.
    #[error("the endpoint picker failed: {} ({})", .0.message(), .0.code())]
    Status(Box<Status>),
    /// It closed the stream, or answered, without a choice.
    #[error("the endpoint picker chose no endpoint")]
    NoChoice,
    /// It chose something that is no endpoint.
    #[error("the endpoint picker's choice: {0}")]
    NotAnEndpoint(#[from] NotAnEndpoint),
    /// It closed the stream while it was changing the body.
    #[error("the endpoint picker broke off while it changed the body")]
    BrokeOff,
    /// The body that it gives is longer than allowed.
    #[error("the endpoint picker made the body longer than {0} bytes")]
    TooLong(usize),
    /// There is no room for the body that it gives.
    #[error("there is no room for the body that the endpoint picker gives")]
    NoRoom,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}
