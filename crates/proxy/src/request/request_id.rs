//! `X-Request-Id`: one name for a request in logs, at the backend and in the response.

use http::{HeaderMap, HeaderValue};

use crate::headers;

/// Longest name that a client may give, in bytes.
const MAX_LENGTH: usize = 128;

/// The request's id, made where the client gave none.
pub(super) fn of_request(map: &mut HeaderMap) -> Box<str> {
    let given = map.get(headers::REQUEST_ID).and_then(|id| id.to_str().ok());
    if let Some(id) = given.filter(|id| !id.is_empty() && id.len() <= MAX_LENGTH) {
        return id.into();
    }
    let id = new();
    if let Ok(value) = HeaderValue::from_str(&id) {
        map.insert(headers::REQUEST_ID, value);
    }
    id
}

/// Puts the id into a response, in place of a backend's own: logs know the request by it. Makes one for a request that was refused
/// before it had one.
pub(super) fn stamp(response: &mut HeaderMap, id: &mut Box<str>) {
    if id.is_empty() {
        *id = new();
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.insert(headers::REQUEST_ID, value);
    }
}

fn new() -> Box<str> {
    str::from_utf8(&uuid(fastrand::u128(..))).unwrap_or_default().into()
}

/// Random bits in the form of a version 4 UUID (RFC 9562, 5.4), which many tools expect.
fn uuid(random: u128) -> [u8; 36] {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let bits = random & !VERSION & !VARIANT | 4 << 76 | 0b10 << 62;
    let mut text = [b'-'; 36];
    let mut place = 0;
    for byte in bits.to_be_bytes() {
        for digit in [byte >> 4, byte & 0xf] {
            text[place] = b"0123456789abcdef"[usize::from(digit)];
            place += 1;
        }
        // A dash is there already.
        place += usize::from(matches!(place, 8 | 13 | 18 | 23));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_version_4_uuid() {
        assert_eq!(&uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef), b"01234567-89ab-4def-8123-456789abcdef");
        assert_eq!(&uuid(u128::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
