//! Work that takes the processor and waits for nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::task::spawn_blocking;

/// Objects of which so few are worked through within a few milliseconds: to hand that to another thread, and back, costs as much.
const FEW: usize = 1000;

/// The work panicked; the panic's message is in the log.
#[derive(Debug, thiserror::Error)]
#[error("it panicked")]
pub(crate) struct Panicked;

/// Works through as many objects: at once where they are few, else beside everything that goes on.
pub(crate) async fn through<T: Send + 'static>(objects: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Panicked> {
    if objects <= FEW {
        // The panic drops all that the work owned, so no one sees it half done.
        return catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked);
    }
    spawn_blocking(work).await.map_err(|_| Panicked)
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use super::*;

    #[tokio::test]
    async fn little_is_done_at_once_much_elsewhere_and_a_panic_ends_neither() {
        let here = thread::current().id();
        let place = |objects: usize| through(objects, || thread::current().id());
        assert_eq!(place(FEW).await.unwrap(), here);
        assert_ne!(place(FEW + 1).await.unwrap(), here);
        for objects in [FEW, FEW + 1] {
            assert!(through::<ThreadId>(objects, || panic!("on purpose")).await.is_err());
        }
    }
}
