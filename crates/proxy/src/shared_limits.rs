//! Limits that this process counts with others: the store's client, and admission by it.

use pailou_limits::{Admission, Charge};
use pailou_snapshot::LimitStore;
use pailou_store::Unavailable;
use tokio::{runtime::Handle, time::Instant};

use crate::{
    context::Context,
    error::{Error, Flag},
};

/// Charges a request to one counter: by its lease, else once the store has answered, at the latest at `deadline`, which the first limit of a
/// request that waits sets.
///
/// # Errors
/// 500 where the store does not answer, and limits that cannot be counted are to refuse.
pub(crate) async fn admit(
    context: &Context,
    now: u64,
    charge: &Charge,
    deadline: &mut Option<Instant>,
) -> Result<Admission, Error> {
    context.shared_limits.admit(now, charge, deadline).await.map_err(|Unavailable| {
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
