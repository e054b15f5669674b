//! Mirrors: copies of a request, body included, whose answers are thrown away and which never hold the original up.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt;
use pailou_snapshot::{CircuitBreaker, Mirror, Timeouts};
use tokio::time::timeout;

use super::{Chosen, outgoing::Outgoing, target::Target};
use crate::{
    context::{Context, Share},
    request_body::RequestBody,
    request_input::RequestInput,
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
    let context = &connection.worker.context;
    for mirror in chosen {
        let sent = Copy::new(&mut input, outgoing, context).and_then(|copy| copy.send(route, mirror, &input, connection));
        if sent.is_none() {
            context.metrics.mirrors_dropped.inc();
        }
    }
    input
}

/// A request for a mirror.
struct Copy {
    outgoing: Outgoing,
    body: RequestBody,
    /// The body's share of the room for bodies, where it is held.
    held: Option<Arc<Share>>,
}

impl Copy {
    /// A copy of the request; `None` where there is no room for its body.
    fn new(input: &mut RequestInput, outgoing: &Outgoing, context: &Arc<Context>) -> Option<Self> {
        let (body, held) = match input {
            RequestInput::Absent => (RequestBody::empty(), None),
            RequestInput::Unread(unread) => (RequestBody::copied(unread.rest.copies.begin(context)), None),
            // The original's bytes, which count already.
            RequestInput::Read(read) if context.bodies.has_room_for_copies(0) => {
                (RequestBody::held(read.bytes.clone().into()), Some(Arc::clone(&read.share)))
            }
            RequestInput::Read(_) => return None,
        };
        Some(Self { outgoing: outgoing.for_mirror(), body, held })
    }

    /// Sends it; `None` where the mirror has no endpoint, or no room for more requests.
    fn send(self, route: &Chosen<'_>, mirror: &Mirror, input: &RequestInput, connection: &Connection) -> Option<()> {
        let Self { mut outgoing, body, held } = self;
        let breaker = route.runtime.breaker(mirror.breaker).clone();
        // Copies are bounded even where nobody set a limit: nobody waits for them.
        let limits = CircuitBreaker::default();
        let permit = breaker.request(Some(&limits)).ok()?;
        let mut target = Target::of(route.runtime, mirror.cluster, route.client, &mut outgoing, input.call(), None).ok()?;
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
