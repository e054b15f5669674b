//! Mirrors: copies of a request, body included, whose answers are thrown away and which never hold the original up.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use pailou_snapshot::{CircuitBreaker, Mirror, Timeouts};
use tokio::time::timeout;

use super::{Chosen, outgoing::Outgoing, replay::ReplayBody, target::Target};
use crate::{
    context::{Context, Share},
    request_body::RequestBody,
    request_input::{ReadBody, RequestInput},
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
    for mirror in chosen {
        let body = body_of(&mut input, &connection.worker.context);
        send_counted(route, mirror, (outgoing, body, input.call()), connection);
    }
    input
}

/// The same for a retry at another backendRef, which has mirrors of its own: the rule's have their copies.
pub(super) fn copy_again(route: &Chosen<'_>, outgoing: &Outgoing, body: &ReplayBody, connection: &Connection) {
    for mirror in route.backend.filters.mirrors.iter().filter(|mirror| falls_within(mirror.fraction)) {
        let copy = body.copy(&connection.worker.context);
        send_counted(route, mirror, (outgoing, copy, body.call()), connection);
    }
}

/// A body for a mirror, with its share of the room for bodies, where it is held.
type CopiedBody = (RequestBody, Option<Arc<Share>>);

/// A copy of a body that has not gone out; `None` where there is no room for it.
fn body_of(input: &mut RequestInput, context: &Arc<Context>) -> Option<CopiedBody> {
    match input {
        RequestInput::Absent => Some((RequestBody::empty(), None)),
        RequestInput::Unread(unread) => Some((RequestBody::copied(unread.rest.copies.begin(context)), None)),
        // The original's bytes, which count already.
        RequestInput::Read(read) if context.bodies.has_room_for_copies(0) => {
            Some((RequestBody::held(read.bytes.clone().into()), Some(Arc::clone(&read.share))))
        }
        RequestInput::Read(_) => None,
    }
}

/// Sends a copy, or counts that there is none.
fn send_counted(
    route: &Chosen<'_>,
    mirror: &Mirror,
    (outgoing, body, call): (&Outgoing, Option<CopiedBody>, Option<&ReadBody>),
    connection: &Connection,
) {
    let copy = body.map(|(body, held)| Copy { outgoing: outgoing.for_mirror(), body, held });
    if copy.and_then(|copy| copy.send(route, mirror, call, connection)).is_none() {
        connection.worker.context.metrics.mirrors_dropped.inc();
    }
}

/// A request for a mirror.
struct Copy {
    outgoing: Outgoing,
    body: RequestBody,
    held: Option<Arc<Share>>,
}

impl Copy {
    /// Sends it; `None` where the mirror has no endpoint, or no room for more requests.
    fn send(self, route: &Chosen<'_>, mirror: &Mirror, call: Option<&ReadBody>, connection: &Connection) -> Option<()> {
        let Self { mut outgoing, body, held } = self;
        let breaker = route.runtime.breaker(mirror.breaker).clone();
        // Copies are bounded even where nobody set a limit: nobody waits for them.
        let limits = CircuitBreaker::default();
        let permit = breaker.request(Some(&limits)).ok()?;
        let mut target = Target::of_mirror(route.runtime, mirror.cluster, route.client, &mut outgoing, call).ok()?;
        let attempt = target.selection.next().ok()?;
        let body = target.body.take().map_or(body, RequestBody::held);
        let worker = connection.worker.clone();
        tokio::spawn(timeout(MAX_TIME, async move {
            let limits = Limits { breaker: Some(&breaker), limits: Some(&limits) };
            let Ok(destination) = dial(&target.settings, attempt.endpoint(), &Timeouts::default(), limits) else { return };
            let Ok(head) = outgoing.head(destination.address, None) else { return };
            if let Ok(mut exchange) = worker.upstreams.send(&destination, &head.borrowed(), body).await {
                // Read to its end, so that the mirror does its work as the original does.
                while let Some(Ok(_)) = exchange.response.body_mut().frame().await {}
            }
            drop((permit, target, held));
        }));
        Some(())
    }
}
