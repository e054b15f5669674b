//! Sources of a consistent hash. Equal on every replica of the gateway: no seed, no process state.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use pailou_auth::cookies;
use pailou_snapshot::HashSource;
use percent_encoding::percent_decode_str;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// A request's consistent hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashedRequest {
    /// The hash; `None` where the request has none of the source.
    pub hash: Option<u64>,
    /// A cookie made for a client that had none, for the response's `Set-Cookie`.
    pub set_cookie: Option<HeaderValue>,
}

/// Hashes a request. `query` is the URI's, without the question mark; `peer` the client's address as policy has it.
pub fn hash_of(source: &HashSource, headers: &HeaderMap, peer: IpAddr, query: &str) -> HashedRequest {
    let hash = match source {
        HashSource::SourceIp => Some(match peer.to_canonical() {
            IpAddr::V4(address) => xxh3_64(&address.octets()),
            IpAddr::V6(address) => xxh3_64(&address.octets()),
        }),
        HashSource::Headers(names) => hash_values(names.iter().map(|name| headers.get_all(name).iter().map(HeaderValue::as_bytes))),
        HashSource::QueryParams(names) => hash_query(names, query),
        HashSource::Cookie { name, .. } => match cookie(headers, name) {
            Some(value) => Some(xxh3_64(value)),
            None => return made_cookie(source),
        },
    };
    HashedRequest { hash, set_cookie: None }
}

/// One hash over all values, each marked by the place of its name; `None` where there is not one value.
fn hash_values<'a>(values: impl Iterator<Item = impl Iterator<Item = &'a [u8]>>) -> Option<u64> {
    let mut hasher = Xxh3::new();
    let mut any = false;
    for (place, values) in (0_u32..).zip(values) {
        for value in values {
            any = true;
            hasher.update(&place.to_le_bytes());
            hasher.update(&(value.len() as u64).to_le_bytes());
            hasher.update(value);
        }
    }
    any.then(|| hasher.digest())
}

fn hash_query(names: &[std::sync::Arc<str>], query: &str) -> Option<u64> {
    hash_values(names.iter().map(|name| {
        query.split('&').filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            percent_decode_str(key).eq(name.bytes()).then_some(value.as_bytes())
        })
    }))
}

/// A cookie's value, without the quotes it may stand in (RFC 6265 section 4.1.1). The first of a name counts.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let (_, value) = cookies(headers).find(|(found, _)| *found == name.as_bytes())?;
    Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
}

/// A new cookie, whose hash already counts for this request: the next one that bears it leads to the same endpoint.
fn made_cookie(source: &HashSource) -> HashedRequest {
    let HashSource::Cookie { name, ttl, attributes } = source else { return HashedRequest::default() };
    let value = format!("{:032x}", fastrand::u128(..));
    let mut line = format!("{name}={value}");
    if let Some(ttl) = ttl {
        line.push_str(&format!("; Max-Age={}", ttl.as_secs()));
    }
    for (name, value) in attributes {
        line.push_str("; ");
        line.push_str(name);
        if let Some(value) = value {
            line.push('=');
            line.push_str(value);
        }
    }
    let has = |wanted: &str| attributes.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if !has("Path") {
        // Without one a browser confines the cookie to the path of the request that made it.
        line.push_str("; Path=/");
    }
    if !has("HttpOnly") {
        line.push_str("; HttpOnly");
    }
    HashedRequest { hash: Some(xxh3_64(value.as_bytes())), set_cookie: HeaderValue::try_from(line).ok() }
}

#[cfg(test)]
mod tests;
