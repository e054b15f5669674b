//! Headers as policies see them.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use pailou_snapshot::{Body, is_model_header};

/// A header's value; lines of one name joined with a comma, as Envoy joins them. Headers that bear the model have the body's, where it is
/// known.
pub(super) fn header_value<'h>(headers: &'h HeaderMap, body: &Body<'h>, name: &HeaderName) -> Option<Cow<'h, [u8]>> {
    if let Body::Read { model, base_model } = body
        && is_model_header(name)
    {
        let value = if name == "x-gateway-base-model-name" { *base_model } else { *model };
        return value.map(|value| Cow::Borrowed(value.as_bytes()));
    }
    let mut joined = Cow::Borrowed(headers.get(name)?.as_bytes());
    if headers.len() == headers.keys_len() {
        // Nothing is said on several lines.
        return Some(joined);
    }
    let lines = headers.get_all(name).iter().skip(1);
    for line in lines {
        let joined = joined.to_mut();
        joined.push(b',');
        joined.extend_from_slice(line.as_bytes());
    }
    Some(joined)
}
