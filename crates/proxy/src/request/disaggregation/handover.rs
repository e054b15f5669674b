//! An engine's word, in its reply to a prefill, on where the KV cache is.

use bytes::Bytes;
use pailou_ai::{Api, Member, Pieces, ScanError, first_object, member, member_edits, splice};
use pailou_snapshot::KvConnector;

use super::bodies;
use crate::{request::target::Target, request_input::ReadBody};

/// Such a word, as it goes to the engine that decodes.
pub(super) enum Handover {
    /// vLLM's `kv_transfer_params`, as they stand.
    KvTransferParams(Bytes),
    /// TensorRT-LLM's.
    Context {
        /// `disaggregated_params` of a request that only generates.
        params: Bytes,
        /// The prompt's tokens, which spares the other engine its tokenizer.
        prompt: Option<Bytes>,
    },
}

impl Handover {
    /// Reads a reply. `None`: the engine hands nothing over, as it is not configured to, or the first token was the last.
    pub(super) fn of_reply(connector: KvConnector, reply: &Bytes) -> Option<Self> {
        if connector == KvConnector::TensorRtLlm { Self::context(reply) } else { Self::kv_transfer_params(reply) }
    }

    fn kv_transfer_params(reply: &Bytes) -> Option<Self> {
        let params = reply.slice(member(reply, "kv_transfer_params")?);
        params.starts_with(b"{").then_some(Self::KvTransferParams(params))
    }

    fn context(reply: &Bytes) -> Option<Self> {
        let choices = reply.slice(member(reply, "choices")?);
        let choice = choices.slice(first_object(&choices)?);
        let finish = &choice[member(&choice, "finish_reason")?];
        if finish != b"\"length\"" && finish != b"\"not_finished\"" {
            return None;
        }
        let params = choice.slice(member(&choice, "disaggregated_params")?);
        let edits = member_edits(&params, &[Member::new("request_type", "\"generation_only\"")]).ok()?;
        let prompt = member(reply, "prompt_token_ids").map(|span| reply.slice(span)).filter(|tokens| tokens.starts_with(b"["));
        Some(Self::Context { params: splice(&params, edits).to_bytes(), prompt })
    }

    /// The body of the decode.
    pub(super) fn decode_body(&self, api: Api, call: &ReadBody, target: &Target) -> Result<Pieces, ScanError> {
        match self {
            Self::KvTransferParams(params) => bodies::vllm_decode(call, target, api, params.clone()),
            Self::Context { params, prompt } => {
                let name = if api == Api::Completions { "prompt" } else { "prompt_token_ids" };
                let prompt = prompt.as_ref().map(|prompt| Member::new(name, prompt.clone()));
                let members: Vec<_> = [Member::new("disaggregated_params", params.clone())].into_iter().chain(prompt).collect();
                bodies::with(call, target, &members, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensorrt_llms_context_becomes_a_generation_unless_nothing_is_left_to_generate() {
        let reply = |finish: &str| {
            let choice = format!(
                r#"{{"index":0,"finish_reason":"{finish}","disaggregated_params":{{"request_type":"context_only","ctx_request_id":7}}}}"#
            );
            Bytes::from(format!(r#"{{"choices":[{choice}],"prompt_token_ids":[1,2]}}"#))
        };
        for finish in ["length", "not_finished"] {
            let Some(Handover::Context { params, prompt }) = Handover::of_reply(KvConnector::TensorRtLlm, &reply(finish)) else {
                panic!("{finish}");
            };
            assert_eq!(params, &br#"{"request_type":"generation_only","ctx_request_id":7}"#[..]);
            assert_eq!(prompt, Some(Bytes::from_static(b"[1,2]")));
        }
        for (connector, reply) in [
            (KvConnector::TensorRtLlm, reply("stop")),
            (KvConnector::TensorRtLlm, Bytes::from_static(br#"{"choices":[{"finish_reason":"length"}]}"#)),
            (KvConnector::TensorRtLlm, Bytes::from_static(b"{}")),
            (KvConnector::Nixl, Bytes::from_static(br#"{"kv_transfer_params":null}"#)),
        ] {
            assert!(Handover::of_reply(connector, &reply).is_none(), "{reply:?}");
        }
    }
}
