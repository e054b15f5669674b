//! gRPC's framing. A piece of a body goes between frames as it is, without a copy.

use bytes::{BufMut, Bytes, BytesMut};
use pailou_envoy_proto::frame::{PREFIX_LENGTH, put_prefix};
use prost::encoding::encode_varint;

use crate::Direction;

/// ProcessingRequest { observability_mode = 10 }: true.
const OBSERVABILITY_MODE: [u8; 2] = [10 << 3, 1];

/// A message with a piece of a body: what goes before it, and the piece.
pub(crate) fn piece(direction: Direction, piece: &Bytes, last: bool) -> [Bytes; 2] {
    with_piece(&[], direction, piece, last)
}

/// The same for a server that only watches.
pub(crate) fn observed_piece(direction: Direction, piece: &Bytes, last: bool) -> [Bytes; 2] {
    with_piece(&OBSERVABILITY_MODE, direction, piece, last)
}

/// A message with these fields before the piece.
fn with_piece(before: &[u8], direction: Direction, piece: &Bytes, last: bool) -> [Bytes; 2] {
    // HttpBody { end_of_stream = 2, body = 1 }: fields may come in any order, so the bytes come last.
    let mut fields = BytesMut::with_capacity(16);
    if last {
        fields.put_slice(&[2 << 3, 1]);
    }
    if !piece.is_empty() {
        fields.put_u8(1 << 3 | LENGTH_DELIMITED);
        encode_varint(piece.len() as u64, &mut fields);
    }
    let body = fields.len() + piece.len();
    // ProcessingRequest { request_body = 4, response_body = 5 }
    let mut outer = BytesMut::with_capacity(8 + before.len());
    outer.put_slice(before);
    let field = match direction {
        Direction::Request => 4,
        Direction::Response => 5,
    };
    outer.put_u8(field << 3 | LENGTH_DELIMITED);
    encode_varint(body as u64, &mut outer);
    let mut frame = BytesMut::with_capacity(PREFIX_LENGTH + outer.len() + fields.len());
    put_prefix(&mut frame, false, outer.len() + body);
    frame.put_slice(&outer);
    frame.put_slice(&fields);
    [frame.freeze(), piece.clone()]
}

const LENGTH_DELIMITED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use pailou_envoy_proto::ext_proc::{HttpBody, ProcessingRequest, processing_request::Request};
    use prost::Message;

    #[test]
    fn piece_is_the_message_that_it_would_be_encoded_as() {
        for (direction, length, last) in
            [(Direction::Request, 0, true), (Direction::Request, 62_000, false), (Direction::Response, 200, true)]
        {
            let bytes = Bytes::from(vec![7; length]);
            let frames = piece(direction, &bytes, last);
            let whole = frames.concat();
            assert_eq!(whole[0], 0);
            assert_eq!(u32::from_be_bytes(whole[1..5].try_into().unwrap()) as usize, whole.len() - 5);
            let body = HttpBody { body: bytes.clone(), end_of_stream: last };
            let expected = match direction {
                Direction::Request => Request::RequestBody(body),
                Direction::Response => Request::ResponseBody(body),
            };
            assert_eq!(ProcessingRequest::decode(&whole[5..]).unwrap().request, Some(expected));
            assert!(length == 0 || frames[1].as_ptr() == bytes.as_ptr(), "the piece is not copied");
            let observed = observed_piece(direction, &bytes, last).concat();
            let observed = ProcessingRequest::decode(&observed[PREFIX_LENGTH..]).unwrap();
            let plain = ProcessingRequest::decode(&whole[PREFIX_LENGTH..]).unwrap();
            assert_eq!(observed, ProcessingRequest { observability_mode: true, ..plain });
        }
    }
}
