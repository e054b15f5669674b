//! Cookies of a request (RFC 6265, section 5.4).

use http::{HeaderMap, header};

/// Names and values, in order. A cookie that is no text hides none of the others.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let pairs = pairs.filter_map(|pair| std::str::from_utf8(pair).ok());
    pairs.filter_map(|pair| pair.trim_matches([' ', '\t']).split_once('='))
}
