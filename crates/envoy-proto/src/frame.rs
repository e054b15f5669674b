//! gRPC's length-prefixed messages.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// The length of the prefix in bytes: a flag for compression and the message's length as a `u32`.
pub const PREFIX_LENGTH: usize = 5;

/// Encodes a message with its prefix, uncompressed.
pub fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_LENGTH + length);
    put_prefix(&mut frame, false, length);
    message.encode_raw(&mut frame);
    frame.freeze()
}

/// Writes the prefix of a message of `length` bytes.
pub fn put_prefix(frame: &mut BytesMut, is_compressed: bool, length: usize) {
    frame.put_u8(is_compressed.into());
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}
