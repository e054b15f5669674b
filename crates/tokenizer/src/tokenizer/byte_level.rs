//! GPT-2's alphabet: a printable character for each byte, so that a vocabulary of texts can hold any bytes.

/// The character of a byte: its own if that can be seen, else one from U+0100 on.
pub(super) fn character(byte: u8) -> char {
    if is_visible(byte) {
        return char::from(byte);
    }
    let place = (0..byte).filter(|other| !is_visible(*other)).count() as u32;
    char::from_u32(0x100 + place).unwrap_or('\u{fffd}')
}

fn is_visible(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

/// Characters of all bytes.
pub(super) fn alphabet() -> [char; 256] {
    std::array::from_fn(|byte| character(byte as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let all = std::collections::HashSet::from(alphabet());
        assert_eq!(all.len(), 256);
        assert_eq!([0, b' ', b'\n', b'a', 0xad].map(character), ['Ā', 'Ġ', 'Ċ', 'a', 'Ń']);
    }
}
