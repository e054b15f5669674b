//! Bodies that are read before a backend is chosen.

use std::sync::Arc;

use pailou_snapshot::Rule;

use crate::{
    context::Context,
    error::Error,
    filter::Admitted,
    request_head::Head,
    request_input::{Bounds, RequestInput},
};

/// Reads the body where a backend can only be chosen, or the request only be allowed, by it, or the response be priced.
pub(super) async fn read_for_backend(
    (rule, needs_model): (&Rule, bool),
    admitted: Admitted,
    head: &Head,
    context: &Arc<Context>,
    bounds: Bounds,
) -> Result<RequestInput, Error> {
    let input = admitted.into_input();
    match rule.policy.max_body {
        Some(limit) => input.read_all(head, context, &Bounds { bytes: limit.min(bounds.bytes), ..bounds }).await,
        None if rule.needs_body || needs_model => input.read(head, context, &bounds).await,
        None => Ok(input),
    }
}

/// Reads the body for an endpoint picker, which gets all of it and is to understand it.
pub(super) async fn read_for_picker(
    input: RequestInput,
    head: &mut Head,
    context: &Arc<Context>,
    bounds: &Bounds,
) -> Result<RequestInput, Error> {
    let mut input = input.read_all(head, context, bounds).await?;
    input.decode(&mut head.parts.headers);
    Ok(input)
}
