//! Texts without what may be a credential.

use pailou_snapshot::is_secret_value;

/// Written in place of a credential.
const REDACTED: &str = "REDACTED";
/// Words before a credential, in lower case: the first is hardly one of a language.
const SCHEMES: [&str; 4] = ["bearer", "basic", "digest", "negotiate"];
/// Shortest credential that is known by its beginning, in bytes: shorter words are of a language (`sk-learn`).
const MIN_LENGTH: usize = 16;
/// Shortest credential after a scheme: a shorter word may be of a language (`a bearer of news`).
const MIN_AFTER_SCHEME: usize = 8;

/// The text with each word that may be a credential replaced.
pub(super) fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = Before::Other;
    for word in text.split_inclusive(char::is_whitespace) {
        let (shown, space) = word.split_at(word.trim_end().len());
        let begin = out.len();
        redact_pieces(shown, &mut before, &mut out);
        // Passwords in URLs have any character.
        if shown.contains("://") && is_secret_value(shown.as_bytes()) {
            out.truncate(begin);
            out.push_str(REDACTED);
        }
        out.push_str(space);
    }
    out
}

/// The word before another one.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Other,
    /// `Authorization`, after which even a short word is a credential, or a scheme.
    Header,
    Scheme {
        is_in_header: bool,
        is_bearer: bool,
    },
}

impl Before {
    fn of(word: &str, before: Self) -> Self {
        if word.eq_ignore_ascii_case("authorization") {
            return Self::Header;
        }
        match SCHEMES.iter().position(|scheme| word.eq_ignore_ascii_case(scheme)) {
            Some(number) => Self::Scheme { is_in_header: before == Self::Header, is_bearer: number == 0 },
            None => Self::Other,
        }
    }

    /// Whether this, after it, is a credential.
    fn makes_secret(self, piece: &str) -> bool {
        let Self::Scheme { is_in_header, is_bearer } = self else { return false };
        // `Basic understanding` is none.
        let is_word = || piece.len() < MIN_LENGTH && piece.bytes().skip(1).all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        is_in_header || (piece.len() >= MIN_AFTER_SCHEME && (is_bearer || !is_word()))
    }
}

/// Appends a text without white space, piece by piece: credentials have letters, digits and few other characters.
fn redact_pieces(mut text: &str, before: &mut Before, out: &mut String) {
    while !text.is_empty() {
        let (separator, rest) = text.split_at(separator_length(text));
        let (piece, rest) = rest.split_at(rest.find(|letter| !is_of_credential(letter)).unwrap_or(rest.len()));
        out.push_str(separator);
        redact_piece(piece, before, out);
        text = rest;
    }
}

fn is_of_credential(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '+' | '/' | '=' | '~')
}

/// Bytes at the beginning that are of no credential. Escapes of JSON are such, as tools' arguments have them: `\n`.
fn separator_length(text: &str) -> usize {
    let mut rest = text;
    while let Some(letter) = rest.chars().next().filter(|letter| !is_of_credential(*letter)) {
        let length = match (letter, rest.as_bytes().get(1)) {
            ('\\', Some(b'n' | b'r' | b't' | b'b' | b'f' | b'/')) => 2,
            ('\\', Some(b'u')) if rest.as_bytes().get(2..6).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit)) => 6,
            _ => letter.len_utf8(),
        };
        rest = &rest[length..];
    }
    text.len() - rest.len()
}

/// Appends a piece as far as no credential begins in it.
fn redact_piece(piece: &str, before: &mut Before, out: &mut String) {
    let is_of_word = |byte: &u8| byte.is_ascii_alphanumeric();
    let mut at = 0;
    // Only ASCII is of a piece.
    while let Some(begin) = piece.bytes().skip(at).position(|byte| is_of_word(&byte)).map(|begin| at + begin) {
        let rest = &piece[begin..];
        if before.makes_secret(rest) || (rest.len() >= MIN_LENGTH && is_secret_value(rest.as_bytes())) {
            *before = Before::Other;
            out.push_str(&piece[..begin]);
            return out.push_str(REDACTED);
        }
        let length = rest.bytes().position(|byte| !is_of_word(&byte)).unwrap_or(rest.len());
        *before = Before::of(&rest[..length], *before);
        at = begin + length;
        // `basic-auth` is a word; `Bearer+…` is of a query.
        if matches!(piece.as_bytes().get(at), Some(b'-' | b'_' | b'.' | b'~')) && at + 1 < piece.len() {
            *before = Before::Other;
        }
    }
    out.push_str(piece);
}
