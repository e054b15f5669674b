//! Endpoint for the prefill of a request that llm-d's sidecar decodes.

use std::net::SocketAddr;

use bytes::Bytes;
use pailou_ai::{Api, can_transfer};
use pailou_picker::{PickRequest, Picked, Stage};
use pailou_snapshot::KvConnector;

use crate::pool::Current;

/// The prefill's place, and what the sidecar gets to know of it.
#[derive(Debug, Default)]
pub(crate) struct Prefill {
    /// Held until the first content.
    pub(crate) picked: Option<Picked>,
    pub(crate) prefiller: Option<SocketAddr>,
}

/// Picks an endpoint for the prefill of a request, of which that for the decode is picked. None in a pool without sidecars; and where so much
/// of the prompt is cached that the decode's endpoint had better do it itself.
pub(crate) fn pick(current: &Current, (path, text): (&str, Option<&Bytes>), request: &PickRequest<'_>, decode: &Picked) -> Prefill {
    let Some(settings) = current.pool.disaggregation.filter(|it| it.connector == KvConnector::LlmdSidecar) else {
        return Prefill::default();
    };
    let api = Api::from_path(path).filter(|api| matches!(api, Api::ChatCompletions | Api::Completions));
    let is_possible = api.is_some_and(|api| text.is_none_or(|text| can_transfer(api, text)));
    let is_worth_it = is_possible && decode.uncached_tokens() >= u64::from(settings.min_uncached_tokens);
    let picked = is_worth_it
        .then(|| current.state.pick(&PickRequest { stage: Stage::Prefill, max_tokens: Some(1), affinity: None, ..*request }).ok());
    let address = |picked: &Picked| -> Option<SocketAddr> { picked.endpoint().endpoint().address.socket() };
    let elsewhere = picked.flatten().filter(|picked| address(picked) != address(decode));
    let prefiller = elsewhere.as_ref().and_then(address);
    Prefill { picked: elsewhere, prefiller }
}
