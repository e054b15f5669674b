//! Mirrors: copies of a request, body included, whose answers are thrown away and which never hold the original up.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use pailou_snapshot::{CircuitBreaker, Mirror, Timeouts};
use tokio::time::timeout;

use super::{Chosen, outgoing::Outgoing, target::Target};
use crate::{
    breaker::Breaker,
    request_body::RequestBody,
    request_input::RequestInput,
    runtime::Runtime,
    upstream::{Limits, dial},
    weighted::falls_within,
    worker::Connection,
};

/// How long a copy may take.
const MAX_TIME: Duration = Duration::from_secs(600);

/// Sends copies to the mirrors whose turn it is; gives back the body for the original.
pub(super) fn copy(route: &Chosen<'_>, outgoing: &Outgoing, mut input: RequestInput, connection: &Connection) -> RequestInput {
    let (rule, own) = (&route.entry.rule.filters.mirrors, &route.backend.filters.mirrors);
    if rule.is_empty() && own.is_empty() {
        return input;
    }
    let chosen: Vec<&Mirror> = rule.iter().chain(own).filter(|mirror| falls_within(mirror.fraction)).collect();
    if chosen.is_empty() {
        return input;
    }
    for mirror in chosen {
        let body = match &mut input {
            RequestInput::Unread(unread) => RequestBody::copied(unread.rest.copies.begin()),
            other => RequestBody::held(other.pieces().unwrap_or_default()),
        };
        send(route.runtime, mirror, route.client, outgoing.for_mirror(), &input, body, connection);
    }
    input
}

fn send(
    runtime: &Arc<Runtime>,
    mirror: &Mirror,
    client: IpAddr,
    outgoing: Outgoing,
    input: &RequestInput,
    body: RequestBody,
    connection: &Connection,
) {
    let breaker: &Arc<Breaker> = runtime.breaker(mirror.breaker);
    // Copies are bounded even where nobody set a limit: nobody waits for them.
    let limits = CircuitBreaker::default();
    let (Ok(permit), Ok(mut target)) =
        (breaker.request(Some(&limits)), Target::of(runtime, mirror.cluster, client, &outgoing, input))
    else {
        return;
    };
    let Ok(attempt) = target.selection.next() else { return };
    let body = target.body.take().map_or(body, RequestBody::held);
    let (worker, breaker) = (connection.worker.clone(), breaker.clone());
    tokio::spawn(timeout(MAX_TIME, async move {
        let limits = Limits { breaker: Some(&breaker), limits: Some(&limits) };
        let Ok(destination) = dial(&target.settings, attempt.endpoint(), &Timeouts::default(), limits) else { return };
        let Ok(head) = outgoing.head(destination.address, None) else { return };
        if let Ok(mut exchange) = worker.upstreams.send(&destination, &head.borrowed(), body).await {
            // Read to its end, so that the mirror does its work as the original does.
            while let Some(Ok(_)) = exchange.response.body_mut().frame().await {}
        }
        drop((permit, target));
    }));
}
