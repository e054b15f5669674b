//! Edits of headers, and the headers that belong to one hop only.

mod assertions;
mod survey;

pub(crate) use assertions::{clean_trailers, remove_assertions, remove_identities};
pub(crate) use survey::Survey;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry},
};
use pailou_extproc::names;
use pailou_snapshot::{HeaderAction, HeaderEdit};
use smallvec::SmallVec;

/// The model named in the body. The gateway's own: a client's copy never counts.
pub(crate) const MODEL_NAME: HeaderName = HeaderName::from_static("x-gateway-model-name");
/// The base model of the adapter named in the body. The gateway's own as well.
pub(crate) const BASE_MODEL_NAME: HeaderName = HeaderName::from_static("x-gateway-base-model-name");
/// Addresses of the client and of proxies before the gateway.
pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The scheme the client used.
pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host the client named, where it was rewritten.
pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// A proxy's account of its client's certificate.
pub(crate) const FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// How many of our gateways the request has passed that add nothing to [`FORWARDED_FOR`].
const HOPS: HeaderName = HeaderName::from_static("x-pailou-hops");
/// A name for the request that all hops log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Asks llm-d's sidecar to have the prompt prefilled at this endpoint.
pub(crate) const PREFILLER: HeaderName = HeaderName::from_static(names::PREFILLER);
/// Names the data-parallel rank of an endpoint of vLLM's that is to serve a request.
pub(crate) const DATA_PARALLEL_RANK: HeaderName = HeaderName::from_static("x-data-parallel-rank");
/// Headers by which llm-d's sidecar learns of hosts.
pub(crate) use names::SIDECAR_HEADERS;
/// The endpoints that an endpoint picker chose.
pub(crate) const ENDPOINT: HeaderName = HeaderName::from_static(names::ENDPOINT);
/// The only endpoints of a pool that are eligible.
pub(crate) const SUBSET: HeaderName = HeaderName::from_static(names::SUBSET);

/// Whether any field's name is one of those that `is_one` knows. To look through the names, of which there are few, costs less than to
/// look up those that are hardly ever there.
pub(crate) fn any(headers: &HeaderMap, is_one: impl Fn(&str) -> bool) -> bool {
    headers.keys().any(|name| is_one(name.as_str()))
}

/// Whether a name has an underscore. Names are short: a call to a search of long texts costs more than to look at eight bytes at a time.
pub(crate) fn has_underscore(name: &str) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let is_in = |bytes: u64| {
        let zero_where_found = bytes ^ (ONES * u64::from(b'_'));
        zero_where_found.wrapping_sub(ONES) & !zero_where_found & (ONES << 7) != 0
    };
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    words.iter().any(|&word| is_in(u64::from_ne_bytes(word))) || rest.contains(&b'_')
}

/// The media type that a message declares, without parameters; empty where it declares none.
pub(crate) fn media_type(headers: &HeaderMap) -> &str {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim()
}

/// Headers that hold for a body byte for byte (RFC 9530, and the older RFC 3230 and RFC 1864).
static DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// Removes what does not hold any more once a body is changed.
pub(crate) fn remove_digests(headers: &mut HeaderMap) {
    for name in &DIGESTS {
        headers.remove(name);
    }
}

/// Applies an edit without templates: set, then add, then remove.
pub(crate) fn edit(headers: &mut HeaderMap, edit: &HeaderEdit) {
    edit_with(headers, edit, &[]);
}

/// The same with the values of the edit's templates, which come after what is added.
pub(crate) fn edit_with(headers: &mut HeaderMap, edit: &HeaderEdit, values: &[Option<HeaderValue>]) {
    for (name, value) in &edit.set {
        headers.insert(name.clone(), value.clone());
    }
    for (name, value) in &edit.add {
        headers.append(name.clone(), value.clone());
    }
    for (name, value) in &edit.add_if_absent {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    for (template, value) in edit.templates.iter().zip(values) {
        let Some(value) = value else { continue };
        match template.action {
            HeaderAction::Set => drop(headers.insert(template.name.clone(), value.clone())),
            HeaderAction::Add => drop(headers.append(template.name.clone(), value.clone())),
            HeaderAction::AddIfAbsent => drop(headers.entry(&template.name).or_insert_with(|| value.clone())),
        }
    }
    for name in &edit.remove {
        headers.remove(name);
    }
    if !edit.remove_matching.is_empty() {
        remove_where(headers, |name| edit.remove_matching.iter().any(|condition| condition.matches(name)));
    }
}

/// Removes the headers whose names `is_one` knows.
pub(crate) fn remove_where(headers: &mut HeaderMap, is_one: impl Fn(&str) -> bool) {
    while let Some(name) = headers.keys().find(|name| is_one(name.as_str())).cloned() {
        headers.remove(name);
    }
}

/// Takes out what holds for one connection only (RFC 9110, 7.6.1), `TE: trailers` apart, which gRPC needs. Gives back the
/// protocol that an HTTP/1.1 client asks to upgrade to.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) -> Option<HeaderValue> {
    if !any(headers, is_of_one_hop) {
        return None;
    }
    let mut upgrade = None;
    // It may stand on several lines, and all of them count.
    let lines: SmallVec<[HeaderValue; 1]> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    headers.remove(header::CONNECTION);
    for connection in &lines {
        for token in connection.to_str().unwrap_or_default().split(',').map(str::trim) {
            if token.eq_ignore_ascii_case("upgrade") {
                upgrade = headers.remove(header::UPGRADE);
            } else if let Ok(name) = HeaderName::from_bytes(token.as_bytes())
                // These two frame the message or say who asks: no client may have them taken out.
                && name != header::CONTENT_LENGTH
                && name != header::HOST
                && name != header::TE
            {
                headers.remove(name);
            }
        }
    }
    let says_trailers = |te: &HeaderValue| te.to_str().is_ok_and(|te| te.split(',').any(|part| part.trim() == "trailers"));
    let trailers = headers.get(header::TE).is_some_and(says_trailers);
    remove_where(headers, is_of_one_hop);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    upgrade
}

/// Headers of one connection only, named by `Connection` or not.
fn is_of_one_hop(name: &str) -> bool {
    matches!(
        name,
        "connection" | "te" | "upgrade" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "proxy-authorization"
    )
}

/// Appends the connection's other end, if one is given, to `X-Forwarded-For` and says by which scheme the client came; where proxies before this
/// one are `trusted`, what they say of the scheme stands. Returns how many proxies the request has passed then, this one included.
pub(crate) fn forwarded(headers: &mut HeaderMap, peer: Option<&HeaderValue>, tls: bool, trusted: bool) -> usize {
    let hops = match peer {
        Some(peer) => forwarded_for(headers, peer),
        None => {
            // The list does not grow, so that a request that goes in circles needs another mark.
            let passed = headers.get(HOPS).and_then(|hops| hops.to_str().ok()?.parse().ok());
            let hops = passed.unwrap_or(0_usize).saturating_add(1);
            headers.insert(HOPS, HeaderValue::from(hops));
            hops.saturating_add(addresses(headers))
        }
    };
    if !(trusted && headers.contains_key(FORWARDED_PROTO)) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(if tls { "https" } else { "http" }));
    }
    hops
}

/// Appends an address to `X-Forwarded-For`. Returns how many are there then.
fn forwarded_for(headers: &mut HeaderMap, peer: &HeaderValue) -> usize {
    // Most requests come from a client itself: one look is enough.
    if let Entry::Vacant(first) = headers.entry(FORWARDED_FOR) {
        first.insert(peer.clone());
        return 1;
    }
    append(headers, FORWARDED_FOR, peer.to_str().unwrap_or_default());
    addresses(headers)
}

fn addresses(headers: &HeaderMap) -> usize {
    let lines = headers.get_all(FORWARDED_FOR).iter();
    lines.map(|line| line.as_bytes().split(|&byte| byte == b',').count()).sum()
}

/// Appends to a header that holds a list, on however many lines it came; they become one.
pub(crate) fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    append_with(headers, name, value, ", ");
}

/// The same, with another separator.
pub(crate) fn append_with(headers: &mut HeaderMap, name: HeaderName, value: &str, separator: &str) {
    let mut list = String::new();
    for line in headers.get_all(&name).iter().filter_map(|line| line.to_str().ok()) {
        list.push_str(line);
        list.push_str(separator);
    }
    list.push_str(value);
    if let Ok(value) = HeaderValue::try_from(list) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_connection_names_goes_but_not_what_frames_the_message() {
        let mut headers = map(&[
            ("connection", "close, X-Private, Content-Length, host"),
            ("x-private", "1"),
            ("content-length", "3"),
            ("host", "a"),
            ("te", "gzip"),
        ]);
        assert_eq!(strip_hop_by_hop(&mut headers), None);
        assert_eq!(headers, map(&[("content-length", "3"), ("host", "a")]));
    }

    #[test]
    fn connection_counts_on_every_line() {
        let mut headers = map(&[("x-first", "1"), ("x-second", "1")]);
        headers.append(header::CONNECTION, HeaderValue::from_static("x-first"));
        headers.append(header::CONNECTION, HeaderValue::from_static("x-second"));
        strip_hop_by_hop(&mut headers);
        assert!(headers.is_empty(), "{headers:?}");
    }

    #[test]
    fn an_upgrade_counts_only_when_connection_names_it() {
        let mut headers = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        assert_eq!(strip_hop_by_hop(&mut headers).as_ref().map(HeaderValue::as_bytes), Some(&b"websocket"[..]));
        let mut headers = map(&[("upgrade", "h2c")]);
        assert_eq!(strip_hop_by_hop(&mut headers), None);
        assert!(headers.is_empty());
    }

    #[test]
    fn every_line_of_a_list_stays_when_it_grows() {
        let mut headers = map(&[("x-forwarded-for", "1.1.1.1, 2.2.2.2")]);
        headers.append(FORWARDED_FOR, HeaderValue::from_static("3.3.3.3"));
        forwarded(&mut headers, Some(&HeaderValue::from_static("127.0.0.1")), true, false);
        assert_eq!(headers, map(&[("x-forwarded-for", "1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1"), ("x-forwarded-proto", "https")]));
    }

    #[test]
    fn the_scheme_is_the_connections_unless_a_proxy_before_is_trusted() {
        for (trusted, expected) in [(false, "http"), (true, "https")] {
            let mut headers = map(&[("x-forwarded-proto", "https")]);
            forwarded(&mut headers, Some(&HeaderValue::from_static("127.0.0.1")), false, trusted);
            assert_eq!(headers[FORWARDED_PROTO], expected);
        }
    }

    #[test]
    fn no_digest_of_another_body_stays() {
        let mut headers =
            map(&[("content-md5", "1"), ("digest", "1"), ("content-digest", "1"), ("repr-digest", "1"), ("etag", "1")]);
        remove_digests(&mut headers);
        assert_eq!(headers, map(&[("etag", "1")]));
    }

    #[test]
    fn trailers_stay_announced() {
        let mut headers = map(&[("te", "deflate, trailers"), ("connection", "te")]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("te", "trailers")]));
    }
}
