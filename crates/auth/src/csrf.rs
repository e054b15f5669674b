//! Cross-site request forgery. Source: Envoy Gateway's SecurityPolicy `csrf`.

use http::{HeaderMap, Method, header};

use crate::Denial;

/// Envoy's text.
const INVALID_ORIGIN: &str = "Invalid origin";

/// Settings of `csrf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Csrf {
    /// Origins beside the request's own host.
    pub additional_origins: Vec<OriginPattern>,
}

/// Host and port of an origin, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginPattern {
    /// Any: nothing is judged.
    Any,
    /// Just this.
    Exact(Box<str>),
    /// All that end so, such as `.example.com`, and have something before.
    Suffix(Box<str>),
}

impl Csrf {
    /// Judges a request. Only methods that change something are judged.
    ///
    /// # Errors
    /// The response to a request from another site, or from none that it names.
    pub fn check(&self, method: &Method, host: &str, headers: &HeaderMap) -> Result<(), Denial> {
        if !matches!(*method, Method::POST | Method::PUT | Method::PATCH | Method::DELETE) {
            return Ok(());
        }
        // An origin that says nothing, `null`, is no reason to ask the referrer.
        let named = headers.get(header::ORIGIN).or_else(|| headers.get(header::REFERER));
        let origin = named.and_then(|value| host_and_port(value.to_str().ok()?));
        match origin {
            Some(origin) if origin.eq_ignore_ascii_case(host) || self.allows(&origin.to_ascii_lowercase()) => Ok(()),
            _ => Err(Denial::forbidden(INVALID_ORIGIN)),
        }
    }

    fn allows(&self, origin: &str) -> bool {
        self.additional_origins.iter().any(|pattern| match pattern {
            OriginPattern::Any => true,
            OriginPattern::Exact(exact) => **exact == *origin,
            OriginPattern::Suffix(suffix) => origin.len() > suffix.len() && origin.ends_with(&**suffix),
        })
    }
}

/// Host and port of a URL. A value without a scheme, `null` too, has none.
fn host_and_port(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_own_host_and_listed_origins_change_something() {
        let csrf = Csrf {
            additional_origins: vec![
                OriginPattern::Exact("app.example".into()),
                OriginPattern::Suffix(".corp.example:8443".into()),
            ],
        };
        let from = |name, value: &str| HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())]);
        let passes = |method, headers: &HeaderMap| csrf.check(&method, "api.example:8080", headers).is_ok();
        for origin in ["https://api.example:8080", "http://API.example:8080", "http://app.example", "https://a.corp.example:8443"] {
            assert!(passes(Method::POST, &from(header::ORIGIN, origin)), "{origin}");
        }
        for origin in
            ["https://api.example", "https://evil.example", "https://.corp.example:8443", "https://app.example.evil", "null", ""]
        {
            assert!(!passes(Method::DELETE, &from(header::ORIGIN, origin)), "{origin}");
            assert!(passes(Method::GET, &from(header::ORIGIN, origin)), "{origin}");
        }
        assert!(passes(Method::PUT, &from(header::REFERER, "https://user@app.example/page?x")));
        assert!(!passes(Method::PATCH, &HeaderMap::new()));
        let mut opaque = from(header::REFERER, "https://app.example/frame");
        opaque.insert(header::ORIGIN, HeaderValue::from_static("null"));
        assert!(!passes(Method::POST, &opaque));
    }
}
