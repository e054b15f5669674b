//! Headers that an authorization server may change.

use http::{HeaderName, HeaderValue, header};
use pailou_envoy_proto::{
    core::{self, HeaderAppendAction, HeaderValueOption},
    ext_proc::HeaderMutation,
};

/// Whether a header of a request is an authorization server's to change: not the host, which decided by which listener it came
/// (GEP-5224); not what frames the message; and not what the gateway itself says of the body.
pub fn is_open(name: &str) -> bool {
    !matches!(
        name.to_ascii_lowercase().as_str(),
        "host"
            | "content-length"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "upgrade"
            | "expect"
            | "x-gateway-model-name"
            | "x-gateway-base-model-name"
    ) && !name.starts_with(':')
}

/// Whether a header of an answer describes the answer itself rather than who asks.
pub(crate) fn describes_answer(name: &HeaderName) -> bool {
    [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_LOCATION,
        header::CONTENT_RANGE,
        header::ACCEPT_RANGES,
        header::DATE,
        header::SERVER,
        header::VIA,
        header::ETAG,
        header::LAST_MODIFIED,
        header::EXPIRES,
        header::CACHE_CONTROL,
        header::VARY,
        header::AGE,
    ]
    .contains(name)
}

/// A header to set in place of what is there. Others of its name in the same message add up.
pub(crate) fn set(name: &HeaderName, value: &HeaderValue) -> HeaderValueOption {
    let header = core::HeaderValue::new(name.as_str(), value.as_bytes().to_vec());
    let append_action = HeaderAppendAction::OverwriteIfExistsOrAdd as i32;
    HeaderValueOption { header: Some(header), append: None, append_action, keep_empty_value: true }
}

/// Leaves out what is not the server's to change.
pub(crate) fn open(mut mutation: HeaderMutation) -> HeaderMutation {
    mutation.set_headers.retain(|option| option.header.as_ref().is_some_and(|header| is_open(&header.key)));
    mutation.remove_headers.retain(|name| is_open(name));
    mutation
}
