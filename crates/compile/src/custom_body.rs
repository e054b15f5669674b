//! Bodies of responses that the gateway makes itself.

use pailou_api::{envoy::body::CustomResponseBody, references::Reference};

use super::{grants::Referrer, index::Index};

/// The longest body, in bytes.
const MAX_BODY: usize = 4096;

/// The body that a `CustomResponseBody` names: its text, or a ConfigMap's key `response.body`, else its first key.
///
/// # Errors
/// A message: the ConfigMap is missing or empty, or the body is longer than 4096 bytes.
pub(crate) fn read(index: &Index<'_>, from: Referrer<'_>, spec: &CustomResponseBody) -> Result<Vec<u8>, String> {
    let body = match spec {
        CustomResponseBody::Inline(text) => text.clone().into_bytes(),
        CustomResponseBody::ValueRef(reference) => {
            let found = Reference::custom_body(from, spec).map(|reference| index.config_map(reference));
            let map = found.transpose().map_err(|problem| problem.message)?.flatten();
            let namespace = from.namespace;
            let missing = || format!("there is no ConfigMap {} in namespace {namespace}", reference.name);
            let data = &map.ok_or_else(missing)?.spec;
            let first = || data.data.keys().next().and_then(|key| data.bytes(key));
            let bytes = data.bytes("response.body").or_else(first);
            bytes.ok_or_else(|| format!("ConfigMap {} has no key response.body", reference.name))?.to_vec()
        }
    };
    if body.len() > MAX_BODY { Err(format!("is longer than {MAX_BODY} bytes")) } else { Ok(body) }
}
