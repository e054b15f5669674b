//! Bodies of responses that the gateway makes itself.

use pailou_api::envoy::body::CustomResponseBody;

use super::index::Index;

/// The longest body, in bytes.
const MAX_BODY: usize = 4096;

/// The body that a `CustomResponseBody` names: its text, or a ConfigMap's key `response.body`, else its first key.
///
/// # Errors
/// A message: the ConfigMap is missing or empty, or the body is longer than 4096 bytes.
pub(crate) fn read(index: &Index, namespace: &str, spec: &CustomResponseBody) -> Result<Vec<u8>, String> {
    let body = match spec {
        CustomResponseBody::Inline(text) => text.clone().into_bytes(),
        CustomResponseBody::ValueRef(reference) => {
            let map = index.config_maps.get(namespace, &reference.name);
            let missing = || format!("there is no ConfigMap {} in namespace {namespace}", reference.name);
            let data = &map.ok_or_else(missing)?.spec;
            let first = || data.data.keys().next().and_then(|key| data.bytes(key));
            let bytes = data.bytes("response.body").or_else(first);
            bytes.ok_or_else(|| format!("ConfigMap {} has no key response.body", reference.name))?.to_vec()
        }
    };
    if body.len() > MAX_BODY { Err(format!("is longer than {MAX_BODY} bytes")) } else { Ok(body) }
}
