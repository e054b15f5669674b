//! Way of a request through filters: at once as far as none of them waits, which most requests are with, and in a box from there.

use pailou_snapshot::HttpFilter;

use super::{
    FilterState,
    authentication::{self, Identity},
    authorization, bandwidth_limit, compressor, cors, external_auth, fault, oidc, passed, rate_limit,
    stage::{Passage, Stage},
};
use crate::{error::Error, request_head::Head, request_input::RequestInput};

/// Passes a request through filters, in order.
///
/// # Errors
/// The response of the first filter that refuses the request.
pub(crate) async fn pass(
    filters: &[HttpFilter],
    stage: &Stage<'_>,
    head: &mut Head,
    input: RequestInput,
    state: &mut FilterState,
) -> Result<Passage<RequestInput>, Error> {
    let may_rematch = stage.matched.is_some() && filters.iter().any(passed::may_rematch);
    match pass_now((filters, may_rematch), stage, head, input, state)? {
        Progress::Ended(passage) => Ok(passage),
        // Boxed: most requests wait for nothing, and would carry the room that the steps need.
        Progress::Waits(filters, input) => Box::pin(pass_on((filters, may_rematch), stage, head, input, state)).await,
    }
}

/// Progress of a request through filters, as far as none of them waits.
enum Progress<'f> {
    /// It is through, or a filter has ended its passage.
    Ended(Passage<RequestInput>),
    /// The first of these filters has to wait for something.
    Waits(&'f [HttpFilter], RequestInput),
}

/// Passes a request through filters until one has to wait, be it for others or for the body.
fn pass_now<'f>(
    (mut filters, may_rematch): (&'f [HttpFilter], bool),
    stage: &Stage<'_>,
    head: &mut Head,
    mut input: RequestInput,
    state: &mut FilterState,
) -> Result<Progress<'f>, Error> {
    while let Some((filter, rest)) = filters.split_first() {
        if state.passed.has(filter) {
            filters = rest;
            continue;
        }
        // Found by this filter alone.
        let mut identity = Identity::default();
        let is_passed = match filter {
            HttpFilter::ResponseOverride(_) => true,
            HttpFilter::Cors(cors) => {
                if let Some(response) = cors::request(cors, &head.parts.method, &head.parts.headers) {
                    state.replied = Some(filter.rank());
                    return Ok(Progress::Ended(Passage::Reply(Box::new(response))));
                }
                true
            }
            HttpFilter::Csrf(settings) => authorization::csrf(settings, head).map(|()| true)?,
            HttpFilter::ApiKeyAuth(settings) => authentication::api_key(settings, head, &mut identity).map(|()| true)?,
            HttpFilter::Jwt(settings) => match authentication::token_now(settings, stage, head, &mut identity)? {
                None => false,
                Some(clears_route) => {
                    state.clears_route |= clears_route;
                    state.oidc.hide(&mut head.parts.headers);
                    true
                }
            },
            HttpFilter::Authorization(rules) => {
                let judged = authorization::rules_now(rules, stage, head, &mut input, &state.identity);
                judged.inspect_err(|error| state.hide_model(rules, error))?
            }
            HttpFilter::RateLimit(limits) => {
                rate_limit::request_now(limits, stage, head, &mut input, (&state.identity, &mut state.limits))?
            }
            HttpFilter::Compressor(_) => {
                compressor::request(&mut head.parts.headers);
                true
            }
            HttpFilter::Fault(_)
            | HttpFilter::BasicAuth(_)
            | HttpFilter::Oidc(_)
            | HttpFilter::ExternalAuth(_)
            | HttpFilter::ExtProc(_)
            | HttpFilter::BandwidthLimit(_) => false,
        };
        if !is_passed {
            return Ok(Progress::Waits(filters, input));
        }
        if state.note_passed(filter, identity, may_rematch) {
            return Ok(Progress::Ended(Passage::Rematch(input)));
        }
        filters = rest;
    }
    Ok(Progress::Ended(Passage::Continue(input)))
}

/// Waits for the first filter, and passes the request on through the rest.
async fn pass_on(
    (mut filters, may_rematch): (&[HttpFilter], bool),
    stage: &Stage<'_>,
    head: &mut Head,
    mut input: RequestInput,
    state: &mut FilterState,
) -> Result<Passage<RequestInput>, Error> {
    while let Some((filter, rest)) = filters.split_first() {
        // Found by this filter alone.
        let mut identity = Identity::default();
        match filter {
            HttpFilter::Fault(fault) => fault::request(fault).await?,
            HttpFilter::BasicAuth(settings) => authentication::password(settings, stage, head, &mut identity).await?,
            HttpFilter::Oidc(settings) => {
                if let Some(response) = oidc::request(settings, stage, head, &mut state.oidc).await? {
                    return Ok(Passage::Reply(Box::new(response)));
                }
            }
            HttpFilter::Jwt(settings) => {
                state.clears_route |= authentication::token(settings, stage, head, &mut identity).await?;
                state.oidc.hide(&mut head.parts.headers);
            }
            HttpFilter::Authorization(rules) => {
                let judged = authorization::rules(rules, stage, head, input, &state.identity).await;
                input = judged.inspect_err(|error| state.hide_model(rules, error))?;
            }
            HttpFilter::RateLimit(limits) => {
                let state = (&state.identity, &mut identity, &mut state.limits);
                input = rate_limit::request(limits, stage, head, input, state).await?;
            }
            HttpFilter::ExternalAuth(server) => {
                let asked = Box::pin(external_auth::request(server, stage, head, input, &mut state.mutations)).await?;
                state.clears_route |= asked.is_allowed && server.settings.recompute_route;
                input = asked.input;
            }
            HttpFilter::ExtProc(processor) => {
                if let Some(processing) = &mut state.processing {
                    input = Box::pin(processing.request(processor, stage, head, input)).await?;
                }
            }
            HttpFilter::BandwidthLimit(limit) => (input, state.bandwidth) = bandwidth_limit::request(limit, stage, input).await?,
            // These never wait.
            HttpFilter::ResponseOverride(_)
            | HttpFilter::Cors(_)
            | HttpFilter::Csrf(_)
            | HttpFilter::ApiKeyAuth(_)
            | HttpFilter::Compressor(_) => return Err(Error::misconfigured("a filter was not passed that waits for nothing")),
        }
        if state.note_passed(filter, identity, may_rematch) {
            return Ok(Passage::Rematch(input));
        }
        match pass_now((rest, may_rematch), stage, head, input, state)? {
            Progress::Ended(passage) => return Ok(passage),
            Progress::Waits(waiting, given) => (filters, input) = (waiting, given),
        }
    }
    Ok(Passage::Continue(input))
}
