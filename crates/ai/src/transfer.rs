//! Members of a request by which engines hand KV cache over: a gateway's to set, as they say which hosts an engine fetches from.

use std::ops::Range;

use bytes::Bytes;

use crate::{
    Api,
    document::{Document, Members},
    json,
    members::member,
    message_parts::containers,
    scan::ScanError,
    splice::Edit,
};

/// Names of vLLM's, SGLang's and TensorRT-LLM's.
const NAMES: [&str; 11] = [
    "kv_transfer_params",
    "ec_transfer_params",
    "bootstrap_host",
    "bootstrap_port",
    "bootstrap_room",
    "bootstrap_pair_key",
    "routed_dp_rank",
    "data_parallel_rank",
    "disagg_prefill_dp_rank",
    "disaggregated_params",
    "encoder_urls",
];
/// Objects that engines read some of these from as well: `sampling_params.extra_args` of vLLM's `/inference/v1/generate`.
const NESTS: [&str; 3] = ["sampling_params", "extra_args", "vllm_xargs"];
/// Most of them around a member.
const MAX_NESTS: u8 = 2;

/// Edits that make all such members `null`, which engines read as absent.
///
/// # Errors
/// The body is no JSON object.
pub fn transfer_edits(body: &[u8]) -> Result<Vec<Edit>, ScanError> {
    let mut found = Found { offset: 0, nests: 0, edits: Vec::new() };
    Document::default().read(body, true, &mut found)?;
    Ok(found.edits)
}

/// Whether engines hand over the KV cache of such a request. They do not of one for the prompt's own logprobs, or its text in the answer: the
/// engine that decodes computes none of the prompt. Nor of a beam search, which is many requests to the engine; nor of a response that needs
/// what an engine has stored, or whose tools the engine itself uses, which is several as well.
pub fn can_transfer(api: Api, body: &[u8]) -> bool {
    let Some(settings) = settings(api, body) else { return false };
    let is_plain = ["prompt_logprobs", "echo", "use_beam_search"].into_iter().all(|name| is_unset(settings, name));
    is_plain && (api != Api::Responses || is_by_itself(body))
}

/// Whether a request asks for one answer. Another way to write the number may count as another number to an engine.
pub fn asks_one_answer(api: Api, body: &[u8]) -> bool {
    let is_one = |settings: &[u8], name| member(settings, name).is_none_or(|span| matches!(&settings[span], b"1" | b"null"));
    settings(api, body).is_some_and(|settings| ["n", "best_of"].into_iter().all(|name| is_one(settings, name)))
}

/// The object that settings of the generation are in.
fn settings(api: Api, body: &[u8]) -> Option<&[u8]> {
    match api {
        Api::Generate => member(body, "sampling_params").map(|span| &body[span]).filter(|settings| settings.starts_with(b"{")),
        _ => Some(body),
    }
}

fn is_unset(object: &[u8], name: &str) -> bool {
    member(object, name).is_none_or(|span| matches!(&object[span], b"null" | b"false"))
}

/// Whether a request for a response needs nothing beside it, and is one to the engine.
fn is_by_itself(body: &[u8]) -> bool {
    let stored = ["background", "previous_response_id", "previous_response", "conversation", "prompt"];
    let is_function = |tool: &[u8]| member(tool, "type").is_some_and(|kind| tool[kind] == *b"\"function\"");
    let tools = member(body, "tools").map(|span| &body[span]).unwrap_or_default();
    stored.into_iter().all(|name| is_unset(body, name))
        && (!tools.starts_with(b"[") || containers(tools).all(|tool| is_function(&tools[tool])))
}

/// Whether a member of the outermost object is one of them, or has one in it.
pub(crate) fn is_transfer(body: &[u8], name: &str, value: &Range<usize>) -> bool {
    let mut found = Found { offset: 0, nests: 0, edits: Vec::new() };
    found.see(body, name, value.clone()).is_ok() && !found.edits.is_empty()
}

struct Found {
    /// Place of the object in the body.
    offset: usize,
    nests: u8,
    edits: Vec<Edit>,
}

impl Found {
    fn see(&mut self, body: &[u8], name: &str, value: Range<usize>) -> Result<(), ScanError> {
        let span = self.offset + value.start..self.offset + value.end;
        if NAMES.contains(&name) {
            self.edits.push(Edit { span, with: Bytes::from_static(b"null") });
        } else if self.nests < MAX_NESTS && body[value.start] == b'{' && NESTS.contains(&name) {
            let mut inner = Self { offset: span.start, nests: self.nests + 1, edits: Vec::new() };
            Document::default().read(&body[value], true, &mut inner)?;
            self.edits.append(&mut inner.edits);
        }
        Ok(())
    }
}

impl Members for Found {
    fn member(&mut self, body: &[u8], name: Range<usize>, value: Range<usize>) -> Result<(), ScanError> {
        let name = json::text(body, &name)?;
        self.see(body, &name, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{scan, splice};

    #[test]
    fn a_request_that_asks_of_its_prompt_stays_with_one_engine() {
        for body in [r#"{"prompt_logprobs":0}"#, r#"{"echo":true,"logprobs":1}"#, r#"{"echo":1}"#, r#"{"use_beam_search":true}"#] {
            assert!(!can_transfer(Api::Completions, body.as_bytes()), "{body}");
            let nested = format!(r#"{{"sampling_params":{body}}}"#);
            assert!(!can_transfer(Api::Generate, nested.as_bytes()), "{nested}");
        }
        for body in [r#"{"prompt_logprobs":null,"echo":false,"use_beam_search":null,"logprobs":5}"#, "{}"] {
            assert!(can_transfer(Api::ChatCompletions, body.as_bytes()), "{body}");
            let nested = format!(r#"{{"sampling_params":{body}}}"#);
            assert!(can_transfer(Api::Generate, nested.as_bytes()) && !can_transfer(Api::Generate, body.as_bytes()), "{nested}");
        }
    }

    #[test]
    fn a_response_that_needs_more_than_its_request_stays_with_one_engine() {
        for body in [
            r#"{"background":true}"#,
            r#"{"previous_response_id":"resp_1"}"#,
            r#"{"tools":[{"type":"function"},{"type":"web_search"}]}"#,
            r#"{"tools":[{}]}"#,
        ] {
            assert!(!can_transfer(Api::Responses, body.as_bytes()), "{body}");
        }
        for body in [r#"{"background":false,"tools":[]}"#, r#"{"tools":[{"name":"f","type":"function"}]}"#, r#"{"tools":null}"#] {
            assert!(can_transfer(Api::Responses, body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_request_for_several_answers_is_told() {
        for (body, expected) in
            [("{}", true), (r#"{"n":1,"best_of":null}"#, true), (r#"{"n":2}"#, false), (r#"{"best_of":1.0}"#, false)]
        {
            assert_eq!(asks_one_answer(Api::Completions, body.as_bytes()), expected, "{body}");
            let nested = format!(r#"{{"n":3,"sampling_params":{body}}}"#);
            assert_eq!(asks_one_answer(Api::Generate, nested.as_bytes()), expected, "{nested}");
        }
    }

    #[test]
    fn members_of_the_transfer_are_found_and_taken_out_wherever_engines_read_them() {
        for (body, expected) in [
            (r#"{"kv_transfer_params":{"remote_host":"h"},"a":1}"#, r#"{"kv_transfer_params":null,"a":1}"#),
            (r#"{"boot\u0073trap_host":["h"],"bootstrap_room": 7}"#, r#"{"boot\u0073trap_host":null,"bootstrap_room": null}"#),
            (
                r#"{ "sampling_params" : {"n":1, "extra_args": {"x":{}, "kv_transfer_params":{"y":1}}}, "disaggregated_params":{}}"#,
                r#"{ "sampling_params" : {"n":1, "extra_args": {"x":{}, "kv_transfer_params":null}}, "disaggregated_params":null}"#,
            ),
            (r#"{"sampling_params":{"extra_args":{"kv_transfer_params":1}},"sampling_params":{}}"#, {
                r#"{"sampling_params":{"extra_args":{"kv_transfer_params":null}},"sampling_params":{}}"#
            }),
        ] {
            let text = Bytes::from_static(body.as_bytes());
            assert!(scan(&text).unwrap().has_transfer, "{body}");
            let edited = splice(&text, transfer_edits(&text).unwrap()).to_bytes();
            assert_eq!(edited, expected.as_bytes(), "{body}");
        }
        // The names elsewhere are text, or tools' own.
        for body in [r#"{"messages":[{"content":"kv_transfer_params","bootstrap_host":1}],"sampling_params":[]}"#, "{}"] {
            assert!(!scan(body.as_bytes()).unwrap().has_transfer, "{body}");
            assert!(transfer_edits(body.as_bytes()).unwrap().is_empty());
        }
    }
}
