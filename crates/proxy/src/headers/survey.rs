//! One look at the names of a client's headers.

use http::HeaderMap;

use super::{FORWARDED_CLIENT_CERT, assertions, has_underscore, is_of_one_hop};

/// Kinds of headers that a request has and that the gateway treats. Most requests have none of them: to look through the names once costs
/// less than to look each kind up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Survey {
    /// Headers of one connection only.
    pub(crate) of_one_hop: bool,
    /// `Expect`, or a header of the gateway's own.
    pub(crate) gateways: bool,
    /// A client's word for what only a proxy may say, or a disguise of it.
    pub(crate) assertions: bool,
    /// `X-Forwarded-Client-Cert`.
    pub(crate) client_cert: bool,
    /// A name with an underscore.
    pub(crate) underscores: bool,
}

impl Survey {
    /// Looks through the names.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut survey = Self::default();
        for name in headers.keys() {
            let name = name.as_str();
            survey.underscores |= has_underscore(name);
            match name.as_bytes()[0] {
                b'c' | b't' | b'u' | b'k' | b'p' => survey.of_one_hop |= is_of_one_hop(name),
                b'e' => survey.gateways |= name == "expect",
                b'f' | b'x' => {
                    survey.gateways |= name.starts_with("x-gateway-");
                    survey.assertions |= assertions::is_assertion(name, false);
                    survey.client_cert |= name == FORWARDED_CLIENT_CERT.as_str();
                }
                _ => {}
            }
        }
        survey
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn each_kind_is_seen() {
        let of = |name: &'static str| {
            let survey = Survey::of(&HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("1"))]));
            [survey.of_one_hop, survey.gateways, survey.assertions, survey.client_cert, survey.underscores].map(u8::from)
        };
        for (name, expected) in [
            ("connection", [1, 0, 0, 0, 0]),
            ("te", [1, 0, 0, 0, 0]),
            ("upgrade", [1, 0, 0, 0, 0]),
            ("keep-alive", [1, 0, 0, 0, 0]),
            ("proxy-connection", [1, 0, 0, 0, 0]),
            ("transfer-encoding", [1, 0, 0, 0, 0]),
            ("proxy-authorization", [1, 0, 0, 0, 0]),
            ("expect", [0, 1, 0, 0, 0]),
            ("x-gateway-model-name", [0, 1, 0, 0, 0]),
            ("x_gateway_model_name", [0, 0, 1, 0, 1]),
            ("x-forwarded-host", [0, 0, 1, 0, 0]),
            ("forwarded", [0, 0, 1, 0, 0]),
            ("x-forwarded-client-cert", [0, 0, 0, 1, 0]),
            ("x-forwarded-client_cert", [0, 0, 1, 0, 1]),
            ("user_name_of_some_length", [0, 0, 0, 0, 1]),
            ("content-type", [0; 5]),
            ("x-team", [0; 5]),
        ] {
            assert_eq!(of(name), expected, "{name}");
        }
    }
}
