//! Waiting for what happens elsewhere, with an end to it.

use std::time::Duration;

/// Nothing here takes longer unless it hangs. Generous, for machines that do other things too.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within [`PATIENCE`].
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_some(what, || condition().then_some(())).await;
}

/// Waits until there is something.
///
/// # Panics
/// When there is nothing within [`PATIENCE`].
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
/// When it takes longer than [`PATIENCE`].
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}
