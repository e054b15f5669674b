//! Keys, as a terminal sends them.

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Character(char),
    Enter,
    Escape,
    Backspace,
    Tab,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    /// Ctrl-C, which the terminal does not act on meanwhile.
    Interrupt,
}

/// The keys in what was read at once. A terminal sends the sequence of one key whole.
pub(super) fn parse(mut bytes: &[u8]) -> Vec<Key> {
    let mut keys = Vec::new();
    while !bytes.is_empty() {
        let (key, length) = first(bytes);
        keys.extend(key);
        bytes = &bytes[length.clamp(1, bytes.len())..];
    }
    keys
}

/// The first key, if it is one that is known, and its length.
fn first(bytes: &[u8]) -> (Option<Key>, usize) {
    match bytes {
        [0x1b, b'[' | b'O', rest @ ..] => sequence(rest),
        [0x1b, ..] => (Some(Key::Escape), 1),
        [b'\r' | b'\n', ..] => (Some(Key::Enter), 1),
        [b'\t', ..] => (Some(Key::Tab), 1),
        [0x7f | 0x08, ..] => (Some(Key::Backspace), 1),
        [0x03 | 0x04, ..] => (Some(Key::Interrupt), 1),
        [0x00..=0x1f, ..] => (None, 1),
        _ => {
            let length = bytes.iter().skip(1).take_while(|byte| **byte & 0xc0 == 0x80).count() + 1;
            let character = std::str::from_utf8(&bytes[..length]).ok().and_then(|text| text.chars().next());
            // C1 controls would act on the terminal where a text that was pasted is shown.
            (character.filter(|character| !character.is_control()).map(Key::Character), length)
        }
    }
}

/// A key that sends more than one character, after its beginning of two.
fn sequence(rest: &[u8]) -> (Option<Key>, usize) {
    let Some(end) = rest.iter().position(|byte| matches!(byte, 0x40..=0x7e)) else { return (None, rest.len() + 2) };
    let key = match (&rest[..end], rest[end]) {
        (_, b'A') => Some(Key::Up),
        (_, b'B') => Some(Key::Down),
        (_, b'C') => Some(Key::Right),
        (_, b'D') => Some(Key::Left),
        (_, b'Z') => Some(Key::BackTab),
        (_, b'H') | (b"1" | b"7", b'~') => Some(Key::Home),
        (_, b'F') | (b"4" | b"8", b'~') => Some(Key::End),
        (b"5", b'~') => Some(Key::PageUp),
        (b"6", b'~') => Some(Key::PageDown),
        _ => None,
    };
    (key, end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_terminals_send_them() {
        let keys = [Key::Character('j'), Key::Up, Key::Home, Key::PageDown, Key::BackTab, Key::Character('ü'), Key::Enter];
        assert_eq!(parse("j\u{1b}[A\u{1b}OH\u{1b}[6~\u{1b}[Zü\r".as_bytes()), keys);
        assert_eq!(parse(b"\x1b"), [Key::Escape]);
        assert_eq!(parse(b"\x1b[1;5Cq"), [Key::Right, Key::Character('q')]);
        assert_eq!(parse(b"\x1b[200~\x03"), [Key::Interrupt]);
        assert_eq!(parse(&[0xff, b'q']), [Key::Character('q')]);
        assert_eq!(parse(b"\x1b[12"), []);
        assert_eq!(parse("\u{9b}q".as_bytes()), [Key::Character('q')]);
    }
}
