//! Changes that a server makes, within the rules that Envoy's filter has by default (`HeaderMutationRules`): a server changes neither
//! the host, the scheme nor the method, and no header that begins with `x-envoy`. It may change the path, and the status of a response.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, uri::PathAndQuery};
use pailou_envoy_proto::{
    core::HeaderValueOption,
    ext_proc::{BodyMutation, HeaderMutation, body_mutation::Mutation},
    header_mutation::apply_where,
};

/// Prefix of the headers that are Envoy's own.
const ENVOY_PREFIX: &str = "x-envoy";

/// A change that cannot be made: all of the request fails, as in Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChange {
    /// A name or value that is no header's.
    #[error("a header in its answer has a name or a value that is not valid")]
    Header,
    /// A path that is none.
    #[error("the :path in its answer is not valid")]
    Path,
    /// A status that is none of a final response.
    #[error("the :status in its answer is not valid")]
    Status,
    /// A piece of a stream where none was sent.
    #[error("its answer is a streamed response, and the body is not processed in FullDuplexStreamed mode")]
    Streamed,
}

/// Changes headers, of a request, response or trailers.
///
/// # Errors
/// A name or value is not valid; nothing has changed then.
pub fn headers(mutation: &HeaderMutation, headers: &mut HeaderMap) -> Result<(), InvalidChange> {
    let is_pseudo = |name: &str| name.starts_with(':');
    let is_name = |name: &str| is_pseudo(name) || HeaderName::from_bytes(name.as_bytes()).is_ok();
    let is_valid = |option: &HeaderValueOption| {
        option.header.as_ref().is_none_or(|header| is_name(&header.key) && HeaderValue::from_bytes(header.bytes()).is_ok())
    };
    if !mutation.set_headers.iter().all(is_valid) || !mutation.remove_headers.iter().all(|name| is_name(name)) {
        return Err(InvalidChange::Header);
    }
    apply_where(mutation, headers, |name| !name.as_str().starts_with(ENVOY_PREFIX));
    Ok(())
}

/// The path that the answer gives the request, if it does.
///
/// # Errors
/// It is none.
pub fn path(mutation: &HeaderMutation) -> Result<Option<PathAndQuery>, InvalidChange> {
    let Some(value) = pseudo(mutation, ":path") else { return Ok(None) };
    let path = PathAndQuery::try_from(value).ok().filter(|path| path.as_str().starts_with('/') || path.as_str() == "*");
    path.map(Some).ok_or(InvalidChange::Path)
}

/// The method that the answer gives the request. It counts only where the body is replaced, too.
///
/// # Errors
/// It is none.
pub fn method(mutation: &HeaderMutation) -> Result<Option<Method>, InvalidChange> {
    pseudo(mutation, ":method").map(|value| Method::from_bytes(value).map_err(|_| InvalidChange::Header)).transpose()
}

/// The status that the answer gives the response, if it does.
///
/// # Errors
/// It is none, or an informational one.
pub fn status(mutation: &HeaderMutation) -> Result<Option<StatusCode>, InvalidChange> {
    let Some(value) = pseudo(mutation, ":status") else { return Ok(None) };
    let status = StatusCode::from_bytes(value).ok().filter(|status| !status.is_informational());
    status.map(Some).ok_or(InvalidChange::Status)
}

/// The bytes that take the place of a piece of a body.
///
/// # Errors
/// The answer belongs to another mode.
pub fn piece(piece: Bytes, mutation: Option<BodyMutation>) -> Result<Bytes, InvalidChange> {
    match mutation.and_then(|mutation| mutation.mutation) {
        None | Some(Mutation::ClearBody(false)) => Ok(piece),
        Some(Mutation::ClearBody(true)) => Ok(Bytes::new()),
        Some(Mutation::Body(body)) => Ok(body),
        Some(Mutation::StreamedResponse(_)) => Err(InvalidChange::Streamed),
    }
}

/// The last value that the answer sets for a pseudo-header.
fn pseudo<'a>(mutation: &'a HeaderMutation, name: &str) -> Option<&'a [u8]> {
    let set = mutation.set_headers.iter().rev().filter_map(|option| option.header.as_ref());
    set.filter(|header| header.key == name).map(|header| header.bytes()).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pailou_envoy_proto::core;

    fn setting(pairs: &[(&str, &'static str)]) -> HeaderMutation {
        let option = |(name, value): &(&str, &'static str)| HeaderValueOption {
            header: Some(core::HeaderValue::new(*name, *value)),
            ..HeaderValueOption::default()
        };
        HeaderMutation { set_headers: pairs.iter().map(option).collect(), remove_headers: Vec::new() }
    }

    #[test]
    fn routing_and_envoys_own_headers_stay() {
        let mut map = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("a"))]);
        let mutation = HeaderMutation {
            remove_headers: vec!["host".to_owned()],
            ..setting(&[("host", "b"), (":authority", "b"), ("x-envoy-retry-on", "5xx"), ("x-kept", "1"), ("content-length", "3")])
        };
        headers(&mutation, &mut map).unwrap();
        let all: Vec<_> = map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(all, [("host", &b"a"[..]), ("x-kept", &b"1"[..])]);
    }

    #[test]
    fn names_and_values_that_are_not_valid_change_nothing() {
        for mutation in [setting(&[("x-a", "1"), ("x b", "1")]), setting(&[("x-a", "1"), ("x-b", "a\nb")])] {
            let mut map = HeaderMap::new();
            assert_eq!(headers(&mutation, &mut map), Err(InvalidChange::Header));
            assert!(map.is_empty());
        }
    }

    #[test]
    fn path_and_status_are_checked() {
        assert_eq!(path(&setting(&[(":path", "/a?b=1")])).unwrap().unwrap(), "/a?b=1");
        assert_eq!(path(&setting(&[("x", "1")])), Ok(None));
        assert_eq!(path(&setting(&[(":path", "a b")])), Err(InvalidChange::Path));
        assert_eq!(path(&setting(&[(":path", "")])), Err(InvalidChange::Path));
        assert_eq!(status(&setting(&[(":status", "418")])), Ok(Some(StatusCode::IM_A_TEAPOT)));
        assert_eq!(status(&setting(&[(":status", "101")])), Err(InvalidChange::Status));
    }
}
