//! Ends a measurement when a signal comes, so that what it started ends too.

use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;

/// A measurement's result, unless SIGINT, SIGTERM or SIGHUP comes first: the measurement is dropped then, and its processes with it.
///
/// # Errors
/// The measurement's, or the signal.
pub(crate) async fn unless<T>(measurement: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let listen = |kind| signal(kind).map_err(Error::Engine);
    let (mut interrupt, mut terminate, mut hang_up) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    tokio::select! {
        result = measurement => result,
        _ = interrupt.recv() => Err(Error::Interrupted),
        _ = terminate.recv() => Err(Error::Interrupted),
        _ = hang_up.recv() => Err(Error::Interrupted),
    }
}
