//! Normal form of paths: routes, policies and backends see the same one, however a client writes it.

use std::borrow::Cow;

/// Changes to a path before anything is matched against it (ClientTrafficPolicy `path`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathNormalization {
    /// Runs of slashes become one. Default: true.
    pub merge_slashes: bool,
    /// Treatment of `%2F` and `%5C`. Default: `Unescape`.
    pub escaped_slashes: EscapedSlashes,
}

/// Treatment of escaped slashes in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They are letters of a segment.
    Keep,
    /// The request is answered 400.
    Reject,
    /// They are slashes.
    Unescape,
    /// The client is sent to the path in which they are slashes.
    Redirect,
}

/// A path in its normal form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'p> {
    /// The path.
    pub path: Cow<'p, str>,
    /// Escaped slashes became slashes.
    pub is_unescaped: bool,
}

/// Reasons to refuse a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It climbs above its root.
    Climbs,
    /// It has escaped slashes, which are not allowed.
    EscapedSlash,
    /// It has a null byte, at which some backends end it.
    Null,
}

impl Default for PathNormalization {
    fn default() -> Self {
        Self { merge_slashes: true, escaped_slashes: EscapedSlashes::Unescape }
    }
}

/// The normal form of a path (RFC 3986, 6.2.2, and as Envoy normalises): letters that need no escape have none, other escapes are in
/// capitals, a backslash is a slash, dot segments are resolved. A path that does not begin with a slash stays as it is.
///
/// # Errors
/// The reason to refuse the path.
pub fn normalize_path(path: &str, settings: PathNormalization) -> Result<NormalPath<'_>, PathError> {
    if is_normal(path, settings) {
        return Ok(NormalPath { path: Cow::Borrowed(path), is_unescaped: false });
    }
    let (path, is_unescaped) = unescape(path, settings.escaped_slashes)?;
    let path = resolve(&path, settings.merge_slashes).ok_or(PathError::Climbs)?;
    Ok(NormalPath { path: path.into(), is_unescaped })
}

/// The form that a path of a configuration is compared in: `None` for one that no normal path is equal to.
pub fn normal_pattern(path: &str) -> Option<Cow<'_, str>> {
    let settings = PathNormalization { merge_slashes: false, escaped_slashes: EscapedSlashes::Keep };
    if is_normal(path, settings) {
        return Some(Cow::Borrowed(path));
    }
    let (unescaped, _) = unescape(path, settings.escaped_slashes).ok()?;
    // A prefix may end within a segment that the path of a request goes on in.
    (resolve(&unescaped, settings.merge_slashes)? == unescaped).then_some(Cow::Owned(unescaped))
}

/// Whether a path certainly is in its normal form: most are.
fn is_normal(path: &str, settings: PathNormalization) -> bool {
    if !path.starts_with('/') || is_plain(path.as_bytes(), settings.merge_slashes) {
        return true;
    }
    let mut before = 0;
    path.bytes().all(|byte| {
        let is_normal = match byte {
            b'%' | b'\\' | 0x80.. => false,
            b'/' => before != b'/' || !settings.merge_slashes,
            b'.' => before != b'/',
            _ => true,
        };
        before = byte;
        is_normal
    })
}

/// Whether a path is of letters and single slashes, and so in its normal form. Eight bytes at a time: every request's path comes by here.
fn is_plain(path: &[u8], merges_slashes: bool) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES * 0x80;
    // The high bit of each byte that is `byte`, in words of ASCII alone.
    let equal = |word: u64, byte: u8| !((word ^ (ONES * u64::from(byte))) + (HIGH - ONES)) & HIGH;
    let (words, rest) = path.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mut slash_before = 0;
    for word in words.iter().chain([&last]).map(|word| u64::from_le_bytes(*word)) {
        if word & HIGH != 0 {
            return false;
        }
        let slashes = equal(word, b'/');
        let are_doubled = merges_slashes && slashes & (slashes << 8 | slash_before) != 0;
        if are_doubled || equal(word, b'%') | equal(word, b'\\') | equal(word, b'.') != 0 {
            return false;
        }
        slash_before = slashes >> 56;
    }
    true
}

/// Gives each letter its normal form. A percent sign that begins no escape gets one: an escape that is resolved behind it could else make
/// an escape of it.
fn unescape(path: &str, slashes: EscapedSlashes) -> Result<(String, bool), PathError> {
    let mut out = String::with_capacity(path.len() + 8);
    let (mut bytes, mut is_unescaped) = (path.as_bytes(), false);
    while let Some((&byte, rest)) = bytes.split_first() {
        bytes = rest;
        let escaped = (byte == b'%').then(|| escaped(rest)).flatten();
        if escaped.is_some() {
            bytes = &rest[2..];
        }
        match (escaped, slashes) {
            (Some(0), _) => return Err(PathError::Null),
            (Some(b'/' | b'\\'), EscapedSlashes::Reject) => return Err(PathError::EscapedSlash),
            (Some(b'/' | b'\\'), EscapedSlashes::Unescape | EscapedSlashes::Redirect) => {
                is_unescaped = true;
                out.push('/');
            }
            (Some(letter), _) if is_unreserved(letter) => out.push(letter.into()),
            (Some(letter), _) => push_escaped(&mut out, letter),
            (None, _) if byte == b'%' || !byte.is_ascii() => push_escaped(&mut out, byte),
            (None, _) if byte == b'\\' => out.push('/'),
            (None, _) => out.push(byte.into()),
        }
    }
    Ok((out, is_unescaped))
}

/// The byte that an escape stands for, past its percent sign.
fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

fn push_escaped(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(DIGITS[usize::from(byte >> 4)].into());
    out.push(DIGITS[usize::from(byte & 15)].into());
}

fn is_unreserved(letter: u8) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'.' | b'_' | b'~')
}

/// Resolves dot segments (RFC 3986, 5.2.4), and merges slashes where that is asked for. `None` where the path climbs above its root.
fn resolve(path: &str, merge_slashes: bool) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    let mut trailing = false;
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        trailing = true;
        match segment {
            "." => {}
            ".." => {
                kept.pop()?;
            }
            "" if merge_slashes => {}
            _ => {
                kept.push(segment);
                trailing = segment.is_empty();
            }
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &kept {
        normal.push('/');
        normal.push_str(segment);
    }
    if normal.is_empty() || (trailing && !normal.ends_with('/')) {
        normal.push('/');
    }
    Some(normal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEEP: PathNormalization = PathNormalization { merge_slashes: false, escaped_slashes: EscapedSlashes::Keep };

    fn normal(path: &str, settings: PathNormalization) -> Result<String, PathError> {
        normalize_path(path, settings).map(|normal| normal.path.into_owned())
    }

    #[test]
    fn dot_segments_are_resolved_in_any_encoding() {
        for (path, expected) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/v1/%2e%2E/admin", "/admin"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/a//b", "/a//b"),
            (r"/a\..\b", "/b"),
        ] {
            assert_eq!(normal(path, KEEP).as_deref(), Ok(expected), "{path}");
        }
        assert_eq!(normal("/a/../../b", KEEP), Err(PathError::Climbs));
        assert_eq!(normal("//a///b/", PathNormalization::default()).as_deref(), Ok("/a/b/"));
        assert_eq!(normal("*", PathNormalization::default()).as_deref(), Ok("*"));
    }

    #[test]
    fn a_letter_has_one_form() {
        for (path, expected) in [
            ("/v1/mo%64els", "/v1/models"),
            ("/%7Euser", "/~user"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a%3ab", "/a%3Ab"),
            // Two readings of an escape do not follow each other.
            ("/%256e", "/%256e"),
            ("/%%36e", "/%256e"),
            ("/%zz%", "/%25zz%25"),
        ] {
            assert_eq!(normal(path, KEEP).as_deref(), Ok(expected), "{path}");
        }
        assert_eq!(normal("/a%00", KEEP), Err(PathError::Null));
    }

    #[test]
    fn escaped_slashes_are_treated_as_the_listener_says() {
        let with = |escaped_slashes| PathNormalization { escaped_slashes, ..PathNormalization::default() };
        let path = "/v1%2f..%5cadmin";
        assert_eq!(normal(path, with(EscapedSlashes::Keep)).as_deref(), Ok("/v1%2F..%5Cadmin"));
        assert_eq!(normal(path, with(EscapedSlashes::Reject)), Err(PathError::EscapedSlash));
        for action in [EscapedSlashes::Unescape, EscapedSlashes::Redirect] {
            let found = normalize_path(path, with(action)).unwrap();
            assert_eq!((&*found.path, found.is_unescaped), ("/admin", true));
        }
        assert!(!normalize_path("/a//b", with(EscapedSlashes::Redirect)).unwrap().is_unescaped);
    }

    #[test]
    fn patterns_are_compared_in_normal_form() {
        for (pattern, expected) in [
            ("/v1", Some("/v1")),
            ("/caf%c3%a9/", Some("/caf%C3%A9/")),
            ("/mo%64els", Some("/models")),
            ("/a%2fb", Some("/a%2Fb")),
            ("/a//b", Some("/a//b")),
            ("/.well", Some("/.well")),
            ("/a/../b", None),
            (r"/a\b", Some("/a/b")),
        ] {
            assert_eq!(normal_pattern(pattern).as_deref(), expected, "{pattern}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_normal_path_stays(path in r"/([/.\\%a2e5fFcC0é~]|%2[eEfF5]|%6[1e]){0,12}", merge_slashes: bool, unescape: bool) {
            let escaped_slashes = if unescape { EscapedSlashes::Unescape } else { EscapedSlashes::Keep };
            let settings = PathNormalization { merge_slashes, escaped_slashes };
            let is_changed = |letter: char| matches!(letter, '%' | '\\' | '.') || !letter.is_ascii();
            if is_plain(path.as_bytes(), merge_slashes) {
                prop_assert!(!(path.contains(is_changed) || merge_slashes && path.contains("//")), "{}", path);
            }
            if let Ok(once) = normal(&path, settings) {
                prop_assert_eq!(normal(&once, settings), Ok(once.clone()));
                prop_assert!(!once.split('/').any(|segment| matches!(segment, "." | "..")), "{}", once);
                prop_assert!(!merge_slashes || !once.contains("//"), "{}", once);
            }
        }
    }
}
