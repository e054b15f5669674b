//! gRPC's health checking protocol (`grpc.health.v1`), as much of it as a probe needs.

use bytes::{BufMut, Bytes, BytesMut};
use pailou_envoy_proto::frame::{PREFIX_LENGTH, put_prefix};

/// The method asked.
pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// `HealthCheckRequest{service}` in gRPC's framing: a byte that says it is not compressed, the length, the message.
pub(super) fn request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(1 << 3 | 2);
        put_varint(&mut message, service.len() as u64);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(PREFIX_LENGTH + message.len());
    put_prefix(&mut frame, false, message.len());
    frame.unsplit(message);
    frame.freeze()
}

/// Whether a framed `HealthCheckResponse` says the service is serving. An answer without a message (an error in the
/// trailers) or one that cannot be read does not.
pub(super) fn is_serving(answer: &[u8]) -> bool {
    let Some((&[0, a, b, c, d], message)) = answer.split_first_chunk::<5>() else { return false };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    message.get(..length).and_then(status) == Some(SERVING)
}

/// Field 1 of a message, a varint; fields not known are passed over. Absent is 0, as in proto3.
fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match (tag >> 3, tag & 7) {
            (1, 0) => status = take_varint(&mut message)?,
            (_, 0) => {
                take_varint(&mut message)?;
            }
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn put_varint(to: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        to.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    to.put_u8(number as u8);
}

fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = from.split_first()?;
        *from = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_service() {
        assert_eq!(request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(request("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        assert_eq!(request(&"x".repeat(300))[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
    }

    #[test]
    fn only_serving_is_healthy() {
        assert!(is_serving(&[0, 0, 0, 0, 2, 0x08, 1]));
        assert!(!is_serving(&[0, 0, 0, 0, 2, 0x08, 2]));
        assert!(!is_serving(&[0, 0, 0, 0, 0]));
        assert!(!is_serving(&[]));
        // Compressed, cut off, not protobuf.
        assert!(!is_serving(&[1, 0, 0, 0, 2, 0x08, 1]));
        assert!(!is_serving(&[0, 0, 0, 0, 3, 0x08, 1]));
        assert!(!is_serving(&[0, 0, 0, 0, 2, 0x0f, 1]));
    }

    #[test]
    fn fields_of_later_versions_are_passed_over() {
        assert!(is_serving(&[0, 0, 0, 0, 6, 0x12, 2, 7, 7, 0x08, 1]));
        assert!(is_serving(&[0, 0, 0, 0, 4, 0x18, 9, 0x08, 1]));
    }
}
