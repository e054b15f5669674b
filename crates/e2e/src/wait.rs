//! Waiting for what happens elsewhere, with an end to it.

use std::time::Duration;

/// Nothing here takes longer unless it hangs. Generous, for machines that do other things too.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`WAIT_TIMEOUT`].
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(())).await;
}

/// Waits until there is something.
///
/// # Panics
/// When there is nothing within [`WAIT_TIMEOUT`].
pub async fn eventually_some<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = find() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(what, waiting).await
}

/// The result of `future`.
///
/// # Panics
/// When it takes longer than [`WAIT_TIMEOUT`].
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(WAIT_TIMEOUT, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {WAIT_TIMEOUT:?}: {what}"),
    }
}
