//! Headers by which a proxy tells those behind it something of the client, or of what they are to do. Who trusts its gateway trusts them.

use http::{HeaderMap, HeaderName, header};

use super::{has_underscore, remove_where};

/// Names that begin so are removed from clients' requests, but for [`KEPT`]: Envoy's, Envoy AI Gateway's, and those of the
/// `X-Forwarded-*` family.
const PREFIXES: [&str; 3] = ["x-forwarded-", "x-envoy-", "x-ai-eg-"];
/// Of the family, those that the gateway treats itself.
const KEPT: [&str; 3] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-client-cert"];
/// Others of the same meaning (RFC 7239, and nginx's).
const NAMES: [&str; 2] = ["forwarded", "x-real-ip"];
/// Beginnings of names, and names, that mean something to the gateway itself, beside [`KEPT`]: a disguised one never does, but may to a
/// backend.
const GATEWAYS: [&str; 3] = ["x-gateway-", "x-llm-d-", "x-request-id"];

/// Headers that say who asks, of whom, and what the body is (RFC 9110, 6.5.1): never trailers.
static OF_HEAD: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
];

/// Removes what only a proxy may say, unless it comes from a trusted one. Underscores count as hyphens, as they do to CGI and WSGI; from a
/// proxy too such names are none that the gateway could treat.
pub(crate) fn remove_assertions(headers: &mut HeaderMap, trusted: bool) {
    remove_where(headers, |name| is_assertion(name, trusted));
}

/// Removes headers that policies put identities into, and their disguises.
pub(crate) fn remove_identities(headers: &mut HeaderMap, names: &[HeaderName]) {
    for own in names {
        remove_where(headers, |name| is_same(name, own.as_str()));
    }
}

/// Removes from a request's trailers what a backend would take for the gateway's word, or for the request's head.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap, identities: &[HeaderName]) {
    remove_assertions(trailers, false);
    remove_identities(trailers, identities);
    let is_of_head = |name: &HeaderName| {
        let is_gateways = || KEPT.contains(&name.as_str()) || GATEWAYS.iter().any(|own| has_prefix(name.as_str(), own));
        OF_HEAD.contains(name) || is_gateways()
    };
    while let Some(name) = trailers.keys().find(|name| is_of_head(name)).cloned() {
        trailers.remove(name);
    }
}

/// Whether a name is one that [`remove_assertions`] removes.
pub(super) fn is_assertion(name: &str, trusted: bool) -> bool {
    // Few names begin so.
    let (b'x' | b'f') = name.as_bytes()[0] else { return false };
    let is_kept = KEPT.contains(&name);
    let is_gateways = || GATEWAYS.iter().any(|known| has_prefix(name, known));
    let is_disguised = || has_underscore(name) && (KEPT.iter().any(|kept| is_same(name, kept)) || is_gateways());
    let is_one = || NAMES.iter().any(|known| is_same(name, known)) || PREFIXES.iter().any(|prefix| has_prefix(name, prefix));
    !is_kept && (is_disguised() || !trusted && is_one())
}

fn is_same(name: &str, other: &str) -> bool {
    name.len() == other.len() && has_prefix(name, other)
}

/// Whether a name begins so, its underscores taken for hyphens.
fn has_prefix(name: &str, prefix: &str) -> bool {
    let letters = name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
    name.len() >= prefix.len() && letters.zip(prefix.bytes()).all(|(one, other)| one == other)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn left(names: &[&'static str], trusted: bool) -> Vec<String> {
        let mut headers: HeaderMap =
            names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect();
        remove_assertions(&mut headers, trusted);
        headers.keys().map(ToString::to_string).collect()
    }

    const ASSERTIONS: [&str; 7] = [
        "x-forwarded-host",
        "x-forwarded-prefix",
        "x-envoy-external-address",
        "x-ai-eg-model",
        "x-real-ip",
        "forwarded",
        "x_envoy_internal",
    ];

    #[test]
    fn a_client_asserts_nothing_and_a_trusted_proxy_does() {
        assert_eq!(left(&ASSERTIONS, false), [""; 0]);
        assert_eq!(left(&ASSERTIONS, true).len(), ASSERTIONS.len());
    }

    #[test]
    fn what_the_gateway_treats_itself_stays_and_its_disguises_go() {
        let own = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-client-cert"];
        let disguised = [
            "x_forwarded_for",
            "x-forwarded_proto",
            "x_forwarded-client_cert",
            "x_gateway_model_name",
            "x-gateway-base_model-name",
            "x_gateway_destination_endpoint_subset",
            "x-llm_d-inference-objective",
            "x_request_id",
        ];
        for trusted in [true, false] {
            assert_eq!(left(&own, trusted), own);
            assert_eq!(left(&disguised, trusted), [""; 0]);
        }
    }

    #[test]
    fn identities_go_in_any_disguise() {
        let mut headers = HeaderMap::new();
        for name in ["x-client-id", "x_client_id", "x_client-id", "x-client", "x-client-id2"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("root"));
        }
        remove_identities(&mut headers, &[HeaderName::from_static("x-client-id")]);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-client", "x-client-id2"]);
    }

    #[test]
    fn trailers_say_nothing_of_the_client() {
        let mut trailers = HeaderMap::new();
        for name in [
            "x-client-id",
            "x_client_id",
            "x-forwarded-for",
            "x-envoy-internal",
            "x-gateway-model-name",
            "authorization",
            "cookie",
            "x-checksum",
        ] {
            trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        clean_trailers(&mut trailers, &[HeaderName::from_static("x-client-id")]);
        assert_eq!(trailers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-checksum"]);
    }

    #[test]
    fn other_headers_stay() {
        let others = [
            "x-gateway-inference-objective",
            "x-request-id",
            "x_team",
            "openai_beta",
            "from",
            "x-forwarded",
            "x-envoyage",
            "x",
            "forwarded-by",
        ];
        assert_eq!(left(&others, false), others);
    }
}
