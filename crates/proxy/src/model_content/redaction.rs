//! Texts without what may be a credential.

use pailou_snapshot::is_secret_value;

/// Written in place of a credential.
const REDACTED: &str = "REDACTED";
/// Words before a credential, in lower case.
const SCHEMES: [&str; 4] = ["bearer", "basic", "digest", "negotiate"];
/// Shortest credential, in bytes: shorter words are of a language.
const MIN_LENGTH: usize = 16;

/// The text with each word that may be a credential replaced.
pub(super) fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut follows_scheme = false;
    for word in text.split_inclusive(char::is_whitespace) {
        let (shown, rest) = word.split_at(word.trim_end().len());
        let is_secret = is_credential(shown) || (follows_scheme && shown.len() >= MIN_LENGTH);
        out.push_str(if is_secret { REDACTED } else { shown });
        out.push_str(rest);
        let plain = shown.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
        follows_scheme = SCHEMES.iter().any(|scheme| plain.len() >= scheme.len() && ends_with(plain, scheme));
    }
    out
}

/// `Authorization:Bearer` is one word.
fn ends_with(word: &str, scheme: &str) -> bool {
    let end = word.len() - scheme.len();
    word.is_char_boundary(end) && word[end..].eq_ignore_ascii_case(scheme)
}

fn is_credential(word: &str) -> bool {
    let has_user = word.contains("://") && is_secret_value(word.as_bytes());
    let pieces = || word.split(['"', '\'', '=', ':', '(', ',', '`', '[', '{', '<']);
    has_user || pieces().any(|piece| piece.len() >= MIN_LENGTH && is_secret_value(piece.as_bytes()))
}
