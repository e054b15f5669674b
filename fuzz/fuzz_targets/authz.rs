//! Only an answer that consents lets a request pass, whatever bytes a server sends, and its changes concern neither the
//! host nor the message's framing.

#![no_main]

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use libfuzzer_sys::fuzz_target;
use pailou_authz::{Decision, grpc, plain};
use pailou_envoy_proto::ext_authz::CheckResponse;
use prost::Message;

fuzz_target!(|input: (u16, Option<u8>, bool, Vec<u8>)| {
    let (status, code, framed, bytes) = input;
    let mut body = BytesMut::new();
    if framed {
        body.put_u8(0);
        body.put_u32(bytes.len() as u32);
    }
    body.extend_from_slice(&bytes);
    let body = body.freeze();
    let Ok(response) = Response::builder().status(status).header("x-user", "a").header(header::HOST, "evil.test").body(()) else { return };
    let (head, ()) = response.into_parts();

    let mut trailers = HeaderMap::new();
    if let Some(code) = code {
        trailers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    }
    if let Ok(Decision::Allowed(allowed)) = grpc::decision(&head, &body, Some(&trailers)) {
        assert!(status == 200 && code == Some(0) && framed);
        let message = CheckResponse::decode(&bytes[..]).expect("it was read");
        assert!(message.status.is_none_or(|status| status.code == 0));
        unchanged(|headers| allowed.apply(headers));
        if let Ok(Some(path)) = allowed.path(&"/a?b=c".parse().expect("a path")) {
            assert_eq!(path.path(), "/a");
        }
    }
    if let Ok(Decision::Allowed(allowed)) = plain::decision(head, Bytes::new(), None) {
        assert_eq!(status, 200);
        unchanged(|headers| allowed.apply(headers));
    }
});

/// Checks the headers that no server may change.
fn unchanged(apply: impl FnOnce(&mut HeaderMap)) {
    let fixed = ["host", "content-length", "x-gateway-model-name"];
    let mut headers: HeaderMap = fixed.map(|name| (header::HeaderName::from_static(name), HeaderValue::from_static("1"))).into_iter().collect();
    apply(&mut headers);
    for name in fixed {
        assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), ["1"], "{name}");
    }
    for name in ["transfer-encoding", "connection", "upgrade", "te"] {
        assert!(!headers.contains_key(name), "{name}");
    }
}
