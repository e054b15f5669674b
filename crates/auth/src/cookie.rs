//! Cookies of a request (RFC 6265, section 5.4).

use http::{HeaderMap, HeaderValue, header};

/// Names and values of a request's cookies, in order.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    })
}

/// Those that are text. One that is not hides none of the others.
pub(crate) fn text_cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    cookies(headers).filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?)))
}

/// Removes cookies by their names.
pub(crate) fn remove_cookies(headers: &mut HeaderMap, is_removed: impl Fn(&str) -> bool) {
    let is_removed = |pair: &[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        std::str::from_utf8(name.trim_ascii()).is_ok_and(&is_removed)
    };
    let mut lines = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    if !lines.any(is_removed) {
        return;
    }
    let lines: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    headers.remove(header::COOKIE);
    for line in lines {
        let pairs = line.as_bytes().split(|byte| *byte == b';').filter(|pair| !is_removed(pair));
        let rest = pairs.map(<[u8]>::trim_ascii).collect::<Vec<_>>().join(&b"; "[..]);
        if let Some(value) = HeaderValue::from_bytes(&rest).ok().filter(|_| !rest.is_empty()) {
            headers.append(header::COOKIE, value);
        }
    }
}
