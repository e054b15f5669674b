//! Retry policy of a route, applied after an attempt.

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use pailou_snapshot::{Retry, RetryTrigger};
use tokio::time::{Instant, sleep};

use super::tried::{Failed, Tried};
use crate::{
    cluster::AttemptOutcome,
    error::{Error, Flag},
};

/// A retry policy in use by one request.
pub(super) struct Policy<'a> {
    retry: Option<&'a Retry>,
    done: u32,
}

impl<'a> Policy<'a> {
    pub(super) fn new(retry: Option<&'a Retry>) -> Self {
        Self { retry, done: 0 }
    }

    /// Whether another attempt may follow this one; if so, it is counted.
    pub(super) fn allows(&mut self, tried: &Tried) -> bool {
        let Some(retry) = self.retry else { return false };
        let wanted = match tried {
            Tried::Answered(response) => status_wanted(retry, response.head.status) || grpc_wanted(retry, &response.head.headers),
            Tried::Failed(failed) => failure_wanted(retry, failed),
        };
        let allowed = wanted && self.done < retry.attempts;
        self.done += u32::from(allowed);
        allowed
    }

    /// Whether another attempt may follow one that breaks off before its first content.
    pub(super) fn retries_resets(&self) -> bool {
        let on = |trigger| matches!(trigger, RetryTrigger::Reset | RetryTrigger::ServerError | RetryTrigger::GatewayError);
        self.retry.is_some_and(|retry| self.done < retry.attempts && retry.on.iter().copied().any(on))
    }

    /// Waits before the next attempt: twice as long each time, anywhere up to that.
    ///
    /// # Errors
    /// 504 where the request's time is up before.
    pub(super) async fn pause(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let Some(retry) = self.retry else { return Ok(()) };
        let longest = retry.backoff.saturating_mul(1 << (self.done - 1).min(16)).min(retry.max_backoff);
        let pause = longest.mul_f64(fastrand::f64());
        if deadline.is_some_and(|deadline| Instant::now() + pause >= deadline) {
            return Err(Error::new(Flag::Timeout, "the backend did not answer in time"));
        }
        if pause > Duration::ZERO {
            sleep(pause).await;
        }
        Ok(())
    }
}

fn status_wanted(retry: &Retry, status: StatusCode) -> bool {
    retry.statuses.contains(&status)
        || retry.on.iter().any(|trigger| match trigger {
            RetryTrigger::ServerError => status.is_server_error(),
            RetryTrigger::GatewayError => matches!(status.as_u16(), 502..=504),
            RetryTrigger::Retriable4xx => status == StatusCode::CONFLICT,
            _ => false,
        })
}

/// gRPC statuses that come with the head ("trailers-only").
fn grpc_wanted(retry: &Retry, headers: &HeaderMap) -> bool {
    let Some(status) = headers.get("grpc-status").and_then(|status| status.to_str().ok()) else { return false };
    let trigger = match status {
        "1" => RetryTrigger::GrpcCancelled,
        "4" => RetryTrigger::GrpcDeadlineExceeded,
        "8" => RetryTrigger::GrpcResourceExhausted,
        "13" => RetryTrigger::GrpcInternal,
        "14" => RetryTrigger::GrpcUnavailable,
        _ => return false,
    };
    retry.on.contains(&trigger)
}

fn failure_wanted(retry: &Retry, failed: &Failed) -> bool {
    if !failed.error.retryable {
        return false;
    }
    // A clock that ran out, or a backend that speaks no HTTP, counts as the status that the client would see.
    if matches!(failed.error.flag, Flag::Timeout | Flag::UpstreamProtocol) {
        let is_silent = failed.error.flag == Flag::Timeout && retry.on.contains(&RetryTrigger::Reset);
        return is_silent || status_wanted(retry, failed.error.status);
    }
    retry.on.iter().any(|trigger| match trigger {
        RetryTrigger::ConnectFailure => failed.outcome == AttemptOutcome::ConnectFailure,
        RetryTrigger::Reset | RetryTrigger::ServerError | RetryTrigger::GatewayError => true,
        RetryTrigger::ResetBeforeRequest => !failed.sent,
        RetryTrigger::RefusedStream => failed.refused,
        _ => false,
    })
}
