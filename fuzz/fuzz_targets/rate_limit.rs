//! A rate limit service's answer decides only where it is one, whatever its bytes; its changes concern neither the host nor the messages'
//! framing.

#![no_main]

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use libfuzzer_sys::fuzz_target;
use pailou_authz::is_open;
use pailou_envoy_proto::{
    header_mutation,
    rate_limit::{self, Code, RateLimitResponse, Unit},
};
use prost::Message;

const FRAMING: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "upgrade"];

fuzz_target!(|input: (u16, Option<u8>, bool, Vec<u8>)| {
    let (status, code, framed, bytes) = input;
    let mut body = BytesMut::new();
    if framed {
        body.put_u8(0);
        body.put_u32(bytes.len() as u32);
    }
    body.extend_from_slice(&bytes);
    let Ok(response) = Response::builder().status(status).body(()) else { return };
    let (head, ()) = response.into_parts();
    let mut trailers = HeaderMap::new();
    if let Some(code) = code {
        trailers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    }
    let Ok(answer) = rate_limit::answer(&head, &body.freeze(), Some(&trailers)) else { return };
    assert!(status == 200 && code == Some(0));
    assert!(matches!(answer.overall_code(), Code::Ok | Code::OverLimit));
    if framed {
        assert_eq!(RateLimitResponse::decode(&bytes[..]).expect("it was read"), answer);
    }
    for status in &answer.statuses {
        let unit = status.current_limit.as_ref().map(|limit| limit.unit());
        assert!(unit.and_then(Unit::seconds).is_none_or(|seconds| seconds > 0));
        let _ = status.seconds_until_reset();
    }
    let fixed: HeaderMap =
        FRAMING.map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).into_iter().collect();
    let mut headers = fixed.clone();
    if let Some(mutation) = answer.request_headers() {
        header_mutation::apply_where(&mutation, &mut headers, |name| is_open(name.as_str()));
        assert!(!headers.contains_key("x-gateway-model-name"));
    }
    if let Some(mutation) = answer.response_headers() {
        header_mutation::apply(&mutation, &mut headers);
    }
    for name in FRAMING {
        assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), ["1"], "{name}");
    }
    let _ = answer.body_type();
});
