//! Authority and target of a request: unambiguous, or refused (RFC 9112, 3.2; RFC 9113, 8.3.1).

use http::{HeaderValue, Method, StatusCode, Version, header, request::Parts};

use crate::{
    error::{Error, Flag},
    rewrite,
};

/// The one host that a request names: the URI's, else the `Host` header's. Empty where HTTP/1.0 names none.
///
/// # Errors
/// 400 where there is none, several, or one that others might read differently.
pub(super) fn authority(parts: &Parts) -> Result<Box<str>, Error> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("more than one Host header"));
    }
    if let Some(authority) = parts.uri.authority() {
        if authority.as_str().contains('@') {
            return Err(bad("the URI holds user information"));
        }
        return Ok(authority.as_str().into());
    }
    match host.map(HeaderValue::to_str) {
        Some(Ok(host)) if is_host(host) => Ok(host.into()),
        Some(_) => Err(bad("the Host header is not valid")),
        None if parts.version >= Version::HTTP_11 => Err(bad("no Host header")),
        None => Ok(Box::default()),
    }
}

/// Brings the target into the form in which a backend is asked: a path, or `*` for OPTIONS.
///
/// # Errors
/// 400 where it is neither, 501 for a tunnel.
pub(super) fn target(parts: &mut Parts) -> Result<(), Error> {
    if parts.method == Method::CONNECT {
        return Err(Error { status: StatusCode::NOT_IMPLEMENTED, ..bad("there are no tunnels here") });
    }
    let Some(path) = parts.uri.path_and_query() else { return Ok(()) };
    match path.as_str().as_bytes() {
        [b'/', ..] => Ok(()),
        [b'*'] if parts.method == Method::OPTIONS => Ok(()),
        // `http://host?query`.
        [b'?', ..] => {
            let path = rewrite::with_path(&parts.uri, "/").ok_or_else(|| bad("the request's target is not valid"))?;
            parts.uri = path.into();
            Ok(())
        }
        _ => Err(bad("the request's target is no path")),
    }
}

fn bad(message: &'static str) -> Error {
    Error::new(Flag::BadRequest, message)
}

/// A byte that stands in no authority, and one that divides it.
const FOREIGN: u8 = 1;
const DIVIDER: u8 = 2;

/// Kinds of bytes, of which a host's are looked up one by one.
const KINDS: [u8; 256] = {
    let mut kinds = [FOREIGN; 256];
    let mut byte = 0;
    while byte < 128 {
        kinds[byte as usize] = match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => 0,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b'%' => 0,
            b':' | b'[' | b']' => DIVIDER,
            _ => FOREIGN,
        };
        byte += 1;
    }
    kinds
};

/// Whether this is `uri-host [":" port]` (RFC 3986, 3.2.2). Empty, it names none.
fn is_host(host: &str) -> bool {
    match host.bytes().fold(0, |seen, byte| seen | KINDS[usize::from(byte)]) {
        0 => return true,
        seen if seen & FOREIGN != 0 => return false,
        _ => {}
    }
    let port = match host.strip_prefix('[') {
        Some(literal) => literal.split_once(']').map(|(_, behind)| behind.strip_prefix(':').unwrap_or(behind)),
        None => Some(host.split_once(':').map_or("", |(_, port)| port)),
    };
    let has_brackets = host.get(1..).is_some_and(|rest| rest.contains('[')) || (!host.starts_with('[') && host.contains(']'));
    !has_brackets && port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_name_or_address_with_one_port() {
        for host in ["", "a", "a.example:80", "a_b", "a:", "1.2.3.4:5", "[::1]", "[::1]:80", "xn--a"] {
            assert!(is_host(host), "{host:?}");
        }
        for host in [
            "a b", "a\tb", "a/b", "a?b", "a#b", "a\\b", "a@b", "a:80:81", "a:b", "[::1", "::1]", "[::1]80a", "[[::1]]", "a[b]",
            "a\"b",
        ] {
            assert!(!is_host(host), "{host:?}");
        }
    }
}
