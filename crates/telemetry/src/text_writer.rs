//! A text of a span that is put together in the span's buffer, without a copy in between.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use crate::span::MAX_TEXT;

/// Appends to a text, up to [`MAX_TEXT`] bytes in all.
pub struct TextWriter<'o> {
    out: &'o mut Vec<u8>,
    left: usize,
}

impl<'o> TextWriter<'o> {
    /// A text at a buffer's end.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, left: MAX_TEXT }
    }

    /// A piece; after one that had no room, none has any.
    pub fn push(&mut self, piece: &str) {
        if piece.len() > self.left {
            self.push_cut(piece);
        } else {
            self.left -= piece.len();
            self.out.extend_from_slice(piece.as_bytes());
        }
    }

    /// Several pieces.
    pub fn push_all<const N: usize>(&mut self, pieces: [&str; N]) {
        pieces.into_iter().for_each(|piece| self.push(piece));
    }

    /// A number in decimal digits.
    pub fn push_number(&mut self, number: u64) {
        self.push(itoa::Buffer::new().format(number));
    }

    /// An address, as its `Display` has it.
    pub fn push_ip(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.push_ipv4(address),
            IpAddr::V6(address) => self.show(address),
        }
    }

    /// A piece that a type writes itself.
    pub fn show(&mut self, piece: impl fmt::Display) {
        // An error is the end of the room, and what was written stands.
        let _ = fmt::Write::write_fmt(self, format_args!("{piece}"));
    }

    fn push_ipv4(&mut self, address: Ipv4Addr) {
        let (mut text, mut length) = ([b'.'; 16], 0);
        for part in address.octets() {
            for (least, digit) in [(100, part / 100), (10, part / 10 % 10), (0, part % 10)] {
                if part >= least {
                    text[length] = b'0' + digit;
                    length += 1;
                }
            }
            length += 1;
        }
        self.push(str::from_utf8(&text[..length - 1]).unwrap_or_default());
    }

    #[cold]
    fn push_cut(&mut self, piece: &str) {
        self.out.extend_from_slice(&piece.as_bytes()[..piece.floor_char_boundary(self.left)]);
        self.left = 0;
    }
}

impl fmt::Write for TextWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let has_room = text.len() <= self.left;
        self.push(text);
        if has_room { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut TextWriter<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut TextWriter::new(&mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_read_as_others_write_them() {
        for address in ["0.0.0.0", "127.0.0.1", "10.20.30.200", "255.255.255.255", "192.168.100.9", "::1", "2001:db8::1"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(text(|text| text.push_ip(address)), address.to_string());
        }
    }

    #[test]
    fn a_text_ends_where_its_room_does() {
        let long = "é".repeat(MAX_TEXT / 2 - 1);
        let written = text(|text| {
            text.push("x");
            text.push(&long);
            text.push("é");
            text.push_number(7);
        });
        assert_eq!(written, format!("x{long}"), "a piece that has no room is the last");
        assert_eq!(text(|text| text.push_all(["a", "", "b"])), "ab");
    }
}
