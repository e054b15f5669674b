//! Bodies of a request's two parts: the client's own but for a few members.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use pailou_ai::{Api, Edit, Member, Pieces, ScanError, member, member_edits, splice, transfer_edits};

use crate::{request::target::Target, request_input::ReadBody};

/// Asks vLLM for a prefill whose KV cache another engine fetches.
pub(super) const NIXL_PARAMS: &str = r#"{"do_remote_decode":true,"do_remote_prefill":false,"remote_engine_id":null,"remote_block_ids":null,"remote_host":null,"remote_port":null}"#;
/// Rooms that one request may take: SGLang's numbers end at 2^63.
const MAX_ROOMS: u64 = 1 << 20;
/// The first of TensorRT-LLM's numbers of requests that no engine gives away itself; they end at 2^63.
const FIRST_DISAGG_REQUEST_ID: u64 = 1 << 42;

/// The body for a prefill by vLLM's protocol: one token, whole.
pub(super) fn vllm_prefill(call: &ReadBody, target: &Target, api: Api, params: impl Into<Bytes>) -> Result<Pieces, ScanError> {
    let params = Member::new("kv_transfer_params", params);
    let mut members = vec![Member::new("stream", "false"), Member::absent("stream_options")];
    let one = |name| Member::new(name, "1");
    match api {
        Api::Generate => return generate(call, target, (&members, &[one("max_tokens"), one("min_tokens")]), params),
        // An engine that stores responses would store this one.
        Api::Responses => members.extend([one("max_output_tokens"), Member::new("store", "false")]),
        Api::Messages => members.push(one("max_tokens")),
        _ => members.extend(["max_tokens", "max_completion_tokens", "min_tokens"].map(one)),
    }
    members.push(params);
    with(call, target, &members, false)
}

/// The body for a decode by vLLM's protocol, with the word on where the KV cache is.
pub(super) fn vllm_decode(call: &ReadBody, target: &Target, api: Api, params: impl Into<Bytes>) -> Result<Pieces, ScanError> {
    let params = Member::new("kv_transfer_params", params);
    match api {
        Api::Generate => generate(call, target, (&[], &[]), params),
        _ => with(call, target, &[params], true),
    }
}

/// Names by which Mooncake's two parts know each other.
pub(super) struct MooncakeTransfer {
    id: u128,
}

impl MooncakeTransfer {
    /// A transfer of its own.
    pub(super) fn new() -> Self {
        Self { id: fastrand::u128(..) }
    }

    /// `kv_transfer_params` of the prefill.
    pub(super) fn prefill_params(&self) -> String {
        format!(r#"{{"do_remote_decode":true,"do_remote_prefill":false,"transfer_id":"xfer-{:032x}"}}"#, self.id)
    }

    /// `kv_transfer_params` of the decode: the engine's name as JSON, and its bootstrap server.
    pub(super) fn decode_params(&self, engine: &str, bootstrap: SocketAddr) -> String {
        let id = self.id;
        format!(
            r#"{{"do_remote_decode":false,"do_remote_prefill":true,"transfer_id":"xfer-{id:032x}","remote_bootstrap_addr":"http://{bootstrap}","remote_engine_id":{engine}}}"#
        )
    }
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

/// The body for a prefill by TensorRT-LLM's protocol. Its limits are the client's: the engine stops after one token by itself.
pub(super) fn tensorrt_llm_prefill(call: &ReadBody, target: &Target) -> Result<Pieces, ScanError> {
    let id = fastrand::u64(FIRST_DISAGG_REQUEST_ID..1 << 63);
    let params = format!(r#"{{"request_type":"context_only","disagg_request_id":{id}}}"#);
    let members = [Member::new("stream", "false"), Member::absent("stream_options"), Member::new("disaggregated_params", params)];
    with(call, target, &members, false)
}

/// The body for an endpoint that does all by itself.
pub(super) fn local(call: &ReadBody, target: &Target) -> Result<Pieces, ScanError> {
    with(call, target, &[], true)
}

/// The text with these members and no other of the transfer, with the engine's name for the model, and with usage where that is asked for.
pub(super) fn with(call: &ReadBody, target: &Target, members: &[Member], asks_usage: bool) -> Result<Pieces, ScanError> {
    let edits = member_edits(call.text(), members)?;
    edited(call, target, edits, asks_usage)
}

/// The same of tokens for tokens, whose settings are in an object of theirs, and the word on the KV cache in another in that.
fn generate(
    call: &ReadBody,
    target: &Target,
    (members, settings): (&[Member], &[Member]),
    params: Member,
) -> Result<Pieces, ScanError> {
    let text = call.text();
    let mut edits = member_edits(text, members)?;
    if let Some((object, begin)) = object(text, "sampling_params") {
        let mut settings = settings.to_vec();
        match self::object(object, "extra_args") {
            Some((extra, place)) => edits.extend(moved(member_edits(extra, &[params])?, begin + place)),
            None => settings.push(Member::new("extra_args", nested(&params))),
        }
        edits.extend(moved(member_edits(object, &settings)?, begin));
    }
    edited(call, target, edits, false)
}

/// An object in another, and its place there.
fn object<'b>(body: &'b [u8], name: &str) -> Option<(&'b [u8], usize)> {
    let span = member(body, name).filter(|span| body[span.start] == b'{')?;
    let begin = span.start;
    Some((&body[span], begin))
}

/// An object of one member.
fn nested(member: &Member) -> Vec<u8> {
    let value = member.value.as_deref().unwrap_or(b"null");
    [b"{\"", member.name.as_bytes(), b"\":", value, b"}"].concat()
}

fn moved(edits: Vec<Edit>, by: usize) -> impl Iterator<Item = Edit> {
    edits.into_iter().map(move |edit| Edit { span: edit.span.start + by..edit.span.end + by, ..edit })
}

fn edited(call: &ReadBody, target: &Target, mut edits: Vec<Edit>, asks_usage: bool) -> Result<Pieces, ScanError> {
    let text = call.text();
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
