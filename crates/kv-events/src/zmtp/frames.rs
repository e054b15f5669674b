//! Frames: flags, length, content.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::ZmtpError;

/// Flags of a frame: more frames of the message follow; the length has 8 bytes; a command.
pub(super) const MORE: u8 = 1;
const LONG: u8 = 2;
pub(super) const COMMAND: u8 = 4;

/// One frame.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) content: Bytes,
    pub(super) has_more: bool,
    pub(super) is_command: bool,
}

/// Writes a frame.
pub(super) fn write(out: &mut BytesMut, flags: u8, content: &[u8]) {
    match u8::try_from(content.len()) {
        Ok(length) => out.put_slice(&[flags, length]),
        Err(_) => {
            out.put_u8(flags | LONG);
            out.put_u64(content.len() as u64);
        }
    }
    out.put_slice(content);
}

/// Writes a message of these frames.
pub(super) fn write_message(out: &mut BytesMut, frames: &[&[u8]]) {
    for (place, frame) in frames.iter().enumerate() {
        write(out, if place + 1 < frames.len() { MORE } else { 0 }, frame);
    }
}

#[derive(Debug, Default)]
pub(super) struct FrameReader {
    pub(super) buffer: BytesMut,
}

impl FrameReader {
    /// The next frame, once it is whole; an error if it has more than so many bytes.
    pub(super) fn next(&mut self, most_bytes: usize) -> Result<Option<Frame>, ZmtpError> {
        let Some(&flags) = self.buffer.first() else { return Ok(None) };
        if flags & !(MORE | LONG | COMMAND) != 0 {
            return Err(ZmtpError::Frame);
        }
        let head = if flags & LONG == 0 { 2 } else { 9 };
        let Some(length) = self.buffer.get(1..head) else { return Ok(None) };
        let length = length.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        let length = usize::try_from(length).ok().filter(|length| *length <= most_bytes).ok_or(ZmtpError::Frame)?;
        if self.buffer.len() - head < length {
            self.buffer.reserve(head + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(head);
        let content = self.buffer.split_to(length).freeze();
        Ok(Some(Frame { content, has_more: flags & MORE != 0, is_command: flags & COMMAND != 0 }))
    }
}
