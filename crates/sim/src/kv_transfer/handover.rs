//! The KV cache in a reply to a prefill.

use serde_json::Value;

/// Members of such a reply.
pub(crate) enum Handover {
    None,
    /// vLLM's `kv_transfer_params`.
    KvTransferParams(Value),
    /// TensorRT-LLM's `disaggregated_params` of the only choice.
    Context(Value),
}

impl Handover {
    /// Adds them to a reply to a prompt of these tokens.
    pub(crate) fn add_to(self, reply: &mut Value, prompt: Option<Vec<u32>>) {
        match self {
            Self::None => {}
            Self::KvTransferParams(params) => reply["kv_transfer_params"] = params,
            Self::Context(params) => {
                reply["choices"][0]["disaggregated_params"] = params;
                reply["prompt_token_ids"] = prompt.into();
            }
        }
    }
}
