//! Fault injection (BackendTrafficPolicy `faultInjection`): a delay, then a failure, each for its share of requests.

use http::StatusCode;
use pailou_snapshot::{Abort, Fault};

use crate::{
    error::{Error, Flag},
    weighted::falls_within,
};

/// Delays a request, then fails it, as chance has it. The client's leaving ends the delay.
///
/// # Errors
/// The injected failure.
pub(super) async fn request(fault: &Fault) -> Result<(), Error> {
    if let Some((delay, share)) = fault.delay
        && falls_within(share)
    {
        tokio::time::sleep(delay).await;
    }
    match fault.abort {
        Some((abort, share)) if falls_within(share) => Err(error(abort)),
        _ => Ok(()),
    }
}

fn error(abort: Abort) -> Error {
    let (status, grpc_status) = match abort {
        Abort::Http(status) => (status, None),
        Abort::Grpc(status) => (http_status(status), Some(status)),
    };
    Error { status, grpc_status, ..Error::new(Flag::Fault, "fault filter abort") }
}

/// The HTTP status of a gRPC status, as Envoy maps them (from google.rpc.Code).
fn http_status(grpc: u8) -> StatusCode {
    let status = match grpc {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
