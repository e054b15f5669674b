//! Room for prompts that are tokenized beside the threads that serve.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits of a process, one for each prompt. Half of them are for prompts whose tokens are expected in time: late ones go on after
/// their requests have left, and would keep all others out.
#[derive(Clone, Debug)]
pub struct PromptPermits {
    all: Arc<Semaphore>,
    late: Arc<Semaphore>,
}

/// A permit of one prompt, until it is dropped.
pub(super) struct PromptPermit(#[expect(dead_code, reason = "held until dropped")] [Option<OwnedSemaphorePermit>; 2]);

impl PromptPermits {
    /// This many.
    pub fn new(count: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(count)), late: Arc::new(Semaphore::new(count / 2)) }
    }

    /// A permit, if there is one at once.
    pub(super) fn try_acquire(&self, is_late: bool) -> Option<PromptPermit> {
        let acquire = |permits: &Arc<Semaphore>| Arc::clone(permits).try_acquire_owned().ok();
        let late = if is_late { Some(acquire(&self.late)?) } else { None };
        Some(PromptPermit([Some(acquire(&self.all)?), late]))
    }
}
