//! Limits that this process counts with others: the store's client, and admission by it.

use std::time::Duration;

use pailou_limits::{Admission, Charge};
use pailou_snapshot::LimitStore;
use pailou_store::{SharedLimits, Unavailable, Undecided};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{
    context::Context,
    error::{Error, Flag},
};

/// Time that a request may still wait for the store: all limits that it meets, of its route and of backends, share it. The first that waits
/// sets it; a body that comes in between takes nothing of it.
#[derive(Default)]
pub(crate) struct StoreBudget(Mutex<Option<Duration>>);

impl StoreBudget {
    async fn wait(&self, limits: &SharedLimits, now: u64, charge: &Charge, undecided: Undecided) -> Result<Admission, Unavailable> {
        let mut left = *self.0.lock();
        let admission = limits.wait(now, charge, undecided, &mut left).await;
        *self.0.lock() = left;
        admission
    }
}

/// Charges a request to one counter once the store has answered, within what is left of `budget`: it could not be decided without.
///
/// # Errors
/// 500 where the store does not answer, and limits that cannot be counted are to refuse.
pub(crate) async fn wait(
    context: &Context,
    now: u64,
    charge: &Charge,
    undecided: Undecided,
    budget: &StoreBudget,
) -> Result<Admission, Error> {
    budget.wait(&context.shared_limits, now, charge, undecided).await.map_err(|Unavailable| {
        Error::new(Flag::RateLimitStore, "limits cannot be counted at this moment; try again")
            .with_detail(format!("limit {}: its store does not answer", charge.name))
    })
}

/// Counts in this store from now on; nothing changes if it is the same one as before.
pub(crate) fn use_store(context: &Context, store: Option<&LimitStore>, runtime: &Handle) {
    if context.shared_limits.use_store(store, runtime) {
        match store {
            Some(store) => tracing::info!("limits of all proxies are counted in the store {}", store.address),
            None => tracing::info!("this proxy counts its limits alone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pailou_limits::{Counters, Descriptor, Window, WindowKind};
    use tokio::net::TcpListener;

    use super::*;

    fn charge(rule: u64) -> Charge {
        Charge {
            name: "ns/policy/rule/0".into(),
            rule: (rule, 0),
            descriptor: Descriptor::default(),
            window: Window { seconds: 31_536_000, kind: WindowKind::Epoch },
            limit: 10,
            cost: 1,
            expected: None,
            is_shadow: false,
        }
    }

    #[tokio::test]
    async fn sets_of_limits_wait_for_a_silent_store_together() {
        // The system takes the connection, and nobody says a word on it.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = LimitStore::parse(&format!("redis://{}", silent.local_addr().unwrap())).unwrap();
        let limits = SharedLimits::new(Arc::<Counters>::default());
        limits.use_store(Some(&LimitStore { timeout: Duration::from_millis(50), ..store }), &Handle::current());
        let budget = StoreBudget::default();
        let admit = async |rule| {
            let charge = charge(rule);
            match limits.admit_now(0, &charge) {
                Ok(admission) => Ok(admission),
                Err(undecided) => budget.wait(&limits, 0, &charge, undecided).await,
            }
        };
        assert!(admit(1).await.is_ok());
        assert_eq!(*budget.0.lock(), Some(Duration::ZERO), "it was waited for");
        for rule in 2..10 {
            assert!(admit(rule).await.is_ok());
        }
        assert_eq!(*budget.0.lock(), Some(Duration::ZERO));
    }
}
