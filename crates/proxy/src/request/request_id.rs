//! `X-Request-Id`: one name for a request in logs, at the backend and in the response.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::Entry};

use pailou_snapshot::RequestIds;

use crate::{
    headers,
    request_record::{RequestId, RequestRecord},
};

/// Longest name that a client may give, in bytes.
const MAX_LENGTH: usize = 128;

/// The request's id; `None` where the listener wants none. A copy of it shares its bytes.
pub(super) fn of_request(map: &mut HeaderMap, listeners: RequestIds) -> Option<HeaderValue> {
    let (keeps, makes) = match listeners {
        RequestIds::PreserveOrGenerate => (true, true),
        RequestIds::Preserve => (true, false),
        RequestIds::Generate => (false, true),
        RequestIds::Disable => (false, false),
    };
    let is_kept = |id: &HeaderValue| keeps && (1..=MAX_LENGTH).contains(&id.len()) && id.to_str().is_ok();
    // One look is enough for nearly all.
    match map.entry(headers::REQUEST_ID) {
        Entry::Occupied(known) if is_kept(known.get()) => Some(known.get().clone()),
        Entry::Occupied(mut known) if makes => {
            let id = new();
            known.insert(id.clone());
            Some(id)
        }
        Entry::Vacant(absent) if makes => Some(absent.insert(new()).clone()),
        Entry::Occupied(unwanted) => {
            unwanted.remove();
            None
        }
        Entry::Vacant(_) => None,
    }
}

/// Makes an id for a request to backends that has none: engines know both parts of it by that.
pub(super) fn ensure(map: &mut HeaderMap) {
    map.entry(headers::REQUEST_ID).or_insert_with(new);
}

/// Puts the id into a response, in place of a backend's own: logs know the request by it. Makes one for a request that was refused
/// before the listener could say whether it has one.
pub(super) fn stamp(response: &mut HeaderMap, record: &mut RequestRecord) {
    match &record.request_id {
        RequestId::Unknown => {
            let id = new();
            record.request_id = RequestId::Known(id.clone());
            response.insert(headers::REQUEST_ID, id);
        }
        RequestId::Known(id) => drop(response.insert(headers::REQUEST_ID, id.clone())),
        RequestId::None => {}
    }
}

fn new() -> HeaderValue {
    // Digits and dashes make a value.
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&uuid(fastrand::u128(..)))).unwrap_or(HeaderValue::from_static("-"))
}

/// Random bits in the form of a version 4 UUID (RFC 9562, 5.4), which many tools expect.
fn uuid(random: u128) -> [u8; 36] {
    const VERSION: u128 = 0xf << 76;
    const VARIANT: u128 = 0b11 << 62;
    let bits = random & !VERSION & !VARIANT | 4 << 76 | 0b10 << 62;
    let [first, last] = [hex((bits >> 64) as u64), hex(bits as u64)];
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&first[..8]);
    text[9..13].copy_from_slice(&first[8..12]);
    text[14..18].copy_from_slice(&first[12..]);
    text[19..23].copy_from_slice(&last[..4]);
    text[24..].copy_from_slice(&last[4..]);
    text
}

/// The 16 digits of a number, eight at a time: each in a byte of its own.
fn hex(number: u64) -> [u8; 16] {
    let mut text = [0; 16];
    text[..8].copy_from_slice(&eight_digits((number >> 32) as u32).to_be_bytes());
    text[8..].copy_from_slice(&eight_digits(number as u32).to_be_bytes());
    text
}

fn eight_digits(number: u32) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut digits = u64::from(number);
    digits = (digits | digits << 16) & 0x0000_ffff_0000_ffff;
    digits = (digits | digits << 8) & 0x00ff_00ff_00ff_00ff;
    digits = (digits | digits << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // From ten on a digit is a letter, 39 further on than the character after `9`.
    let letters = (digits + 6 * ONES) >> 4 & ONES;
    digits + u64::from(b'0') * ONES + 39 * letters
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
