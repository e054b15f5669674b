//! Bodies of a request's two parts: the client's own but for a few members.

use std::net::IpAddr;

use bytes::Bytes;
use pailou_ai::{Edit, Member, Pieces, ScanError, member_edits, splice, transfer_edits};

use crate::{request::target::Target, request_input::ReadBody};

/// Asks vLLM for a prefill whose KV cache another engine fetches.
const PREFILL_PARAMS: &str = r#"{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null}"#;
/// Rooms that one request may take: SGLang's numbers end at 2^63.
const MAX_ROOMS: u64 = 1 << 20;

/// The body for a prefill by vLLM's protocol: one token, whole.
pub(super) fn nixl_prefill(call: &ReadBody, target: &Target) -> Result<Pieces, ScanError> {
    let members = [
        Member::new("stream", "false"),
        Member::absent("stream_options"),
        Member::new("max_tokens", "1"),
        Member::new("max_completion_tokens", "1"),
        Member::new("min_tokens", "1"),
        Member::new("kv_transfer_params", PREFILL_PARAMS),
    ];
    with(call, target, &members, false)
}

/// The body for a decode by vLLM's protocol, with the prefill's own word on where the KV cache is.
pub(super) fn nixl_decode(call: &ReadBody, target: &Target, params: Bytes) -> Result<Pieces, ScanError> {
    with(call, target, &[Member::new("kv_transfer_params", params)], true)
}

/// The body for both by SGLang's protocol: they meet in a room of the bootstrap server. Of several prompts or answers each has a room of its
/// own: engines number them on from this one.
pub(super) fn sglang(call: &ReadBody, target: &Target, bootstrap: (IpAddr, u16)) -> Result<Pieces, ScanError> {
    let (host, port) = bootstrap;
    let members = [
        Member::new("bootstrap_host", format!("\"{host}\"")),
        Member::new("bootstrap_port", port.to_string()),
        Member::new("bootstrap_room", fastrand::u64(..(1 << 63) - MAX_ROOMS).to_string()),
    ];
    with(call, target, &members, true)
}

/// The body for an endpoint that does all by itself.
pub(super) fn local(call: &ReadBody, target: &Target) -> Result<Pieces, ScanError> {
    with(call, target, &[], true)
}

/// The text with these members and no other of the transfer, with the engine's name for the model, and with usage where that is asked for.
fn with(call: &ReadBody, target: &Target, members: &[Member], asks_usage: bool) -> Result<Pieces, ScanError> {
    let text = call.text();
    let mut edits: Vec<Edit> = member_edits(text, members)?;
    if let Some(scan) = call.scan() {
        if scan.has_transfer {
            // Of two edits of one place the first counts.
            edits.extend(transfer_edits(text)?);
        }
        edits.extend(target.target_model.as_deref().map(|name| scan.model_edits(name)).unwrap_or_default());
        edits.extend(scan.usage_edit(text).filter(|_| asks_usage && target.strips_usage));
    }
    Ok(splice(text, edits))
}
