//! Requests that a limit is for. Source: Envoy Gateway's `rateLimit` `clientSelectors`.

use std::{borrow::Cow, net::IpAddr};

use http::{HeaderName, Method};
use pailou_auth::{Cidr, PathRule, query_values};
use regex::Regex;
use smallvec::SmallVec;

use crate::Descriptor;

/// A request, as selectors see it.
pub struct RequestFacts<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// Method.
    pub method: &'a Method,
    /// Path without query.
    pub path: &'a str,
    /// Query.
    pub query: Option<&'a str>,
    /// The value of a header; lines of one name joined with a comma.
    pub header: &'a dyn Fn(&HeaderName) -> Option<Cow<'a, [u8]>>,
}

/// A request's headers, each looked up once: the rules of a policy mostly tell clients apart by the same one.
pub(crate) struct HeaderCache<'s, 'f, 'a> {
    facts: &'f RequestFacts<'a>,
    found: SmallVec<[(&'s HeaderName, HeaderText<'a>); 4]>,
}

/// Text of a header, if the request has one.
type HeaderText<'a> = Option<Cow<'a, [u8]>>;

impl<'s, 'f, 'a> HeaderCache<'s, 'f, 'a> {
    pub(crate) fn new(facts: &'f RequestFacts<'a>) -> Self {
        Self { facts, found: SmallVec::new() }
    }

    fn value(&mut self, name: &'s HeaderName) -> Option<&[u8]> {
        let place = self.found.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.found.push((name, (self.facts.header)(name)));
            self.found.len() - 1
        });
        self.found[place].1.as_deref()
    }
}

/// Conditions, all of which have to hold.
#[derive(Clone, Debug, Default)]
pub struct ClientSelector {
    /// Headers.
    pub headers: Vec<(HeaderName, ValueSelector)>,
    /// Methods, and whether all others are meant; one of them.
    pub methods: Vec<(Method, bool)>,
    /// The path.
    pub path: Option<PathRule>,
    /// The client's address.
    pub address: Option<AddressSelector>,
    /// Query parameters.
    pub query: Vec<(Box<str>, ValueSelector)>,
}

/// Condition on a header or a query parameter.
#[derive(Clone, Debug)]
pub enum ValueSelector {
    /// It has this value, or (inverted) has not.
    Exact(Box<str>, bool),
    /// It matches as a whole, or (inverted) is there and does not.
    Regex(Regex, bool),
    /// It is there; each value has a counter.
    Distinct {
        /// The value is a credential, of which counters keep a digest.
        is_secret: bool,
    },
}

/// Condition on the client's address.
#[derive(Clone, Debug)]
pub struct AddressSelector {
    /// The range.
    pub range: Cidr,
    /// All other addresses are meant.
    pub is_inverted: bool,
    /// Each address has a counter; else the range has one.
    pub is_distinct: bool,
}

impl ClientSelector {
    /// Whether all conditions hold. Puts the values that have counters of their own into the descriptor.
    pub(crate) fn select<'s>(&'s self, headers: &mut HeaderCache<'s, '_, '_>, descriptor: &mut Descriptor) -> bool {
        let facts = headers.facts;
        self.methods_match(facts.method)
            && self.path.as_ref().is_none_or(|path| path.matches(facts.path))
            && self.address.as_ref().is_none_or(|address| address.select(facts.client, descriptor))
            && self.headers.iter().all(|(name, selector)| selector.select(headers.value(name), descriptor))
            && self.query.iter().all(|(name, selector)| selector.select(Self::parameter(facts, name).as_deref(), descriptor))
    }

    /// The first value of a query parameter.
    pub(crate) fn parameter<'a>(facts: &RequestFacts<'a>, name: &str) -> Option<Cow<'a, [u8]>> {
        facts.query.and_then(|query| query_values(query, name).next())
    }

    fn methods_match(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|(own, is_inverted)| (own == method) != *is_inverted)
    }
}

impl ValueSelector {
    fn select(&self, value: Option<&[u8]>, descriptor: &mut Descriptor) -> bool {
        match (self, value) {
            (Self::Exact(own, is_inverted), value) => (value == Some(own.as_bytes())) != *is_inverted,
            (Self::Regex(..) | Self::Distinct { .. }, None) => false,
            (Self::Regex(regex, is_inverted), Some(value)) => {
                std::str::from_utf8(value).is_ok_and(|text| regex.is_match(text)) != *is_inverted
            }
            (Self::Distinct { is_secret }, Some(value)) => {
                descriptor.push(value, *is_secret);
                true
            }
        }
    }
}

impl AddressSelector {
    fn select(&self, client: IpAddr, descriptor: &mut Descriptor) -> bool {
        if self.range.contains(client) == self.is_inverted {
            return false;
        }
        if self.is_distinct {
            descriptor.push(client.to_canonical().to_string().as_bytes(), false);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use pailou_auth::PathValue;

    use super::*;

    fn select(selector: &ClientSelector, path: &str, query: Option<&str>) -> Option<String> {
        let header = |name: &HeaderName| match name.as_str() {
            "x-user" => Some(Cow::Borrowed(&b"alice"[..])),
            "authorization" => Some(Cow::Borrowed(&b"Bearer secret"[..])),
            _ => None,
        };
        let facts = RequestFacts { client: IpAddr::from([10, 0, 0, 7]), method: &Method::POST, path, query, header: &header };
        let mut descriptor = Descriptor::default();
        selector.select(&mut HeaderCache::new(&facts), &mut descriptor).then(|| descriptor.to_string())
    }

    fn header(name: &'static str, selector: ValueSelector) -> ClientSelector {
        ClientSelector { headers: vec![(HeaderName::from_static(name), selector)], ..ClientSelector::default() }
    }

    #[test]
    fn an_absent_header_matches_an_inverted_value_alone() {
        let regex = || Regex::new("^(?:a.*)$").unwrap();
        for (name, selector, expected) in [
            ("x-user", ValueSelector::Exact("alice".into(), false), true),
            ("x-user", ValueSelector::Exact("alice".into(), true), false),
            ("x-none", ValueSelector::Exact("alice".into(), true), true),
            ("x-none", ValueSelector::Exact("alice".into(), false), false),
            ("x-user", ValueSelector::Regex(regex(), false), true),
            ("x-user", ValueSelector::Regex(regex(), true), false),
            ("x-none", ValueSelector::Regex(regex(), true), false),
            ("x-none", ValueSelector::Distinct { is_secret: false }, false),
        ] {
            assert_eq!(select(&header(name, selector.clone()), "/", None).is_some(), expected, "{name} {selector:?}");
        }
    }

    #[test]
    fn distinct_values_have_counters_and_credentials_are_not_kept() {
        let mut selector = header("x-user", ValueSelector::Distinct { is_secret: false });
        selector.address = Some(AddressSelector { range: "10.0.0.0/8".parse().unwrap(), is_inverted: false, is_distinct: true });
        assert_eq!(select(&selector, "/", None).unwrap(), "10.0.0.7, alice");
        let secret = select(&header("authorization", ValueSelector::Distinct { is_secret: true }), "/", None).unwrap();
        assert!(secret.starts_with("sha256:") && !secret.contains("secret"), "{secret}");
    }

    #[test]
    fn paths_methods_addresses_and_parameters_are_conditions_too() {
        let path = |path| ClientSelector { path: Some(path), ..ClientSelector::default() };
        assert!(select(&path(PathRule { value: PathValue::Prefix("/v1".into()), is_inverted: false }), "/v1/x", None).is_some());
        assert!(select(&path(PathRule { value: PathValue::Prefix("/v1".into()), is_inverted: false }), "/v1x", None).is_none());
        assert!(select(&path(PathRule { value: PathValue::Exact("/v1".into()), is_inverted: true }), "/v1", None).is_none());
        assert!(
            select(
                &path(PathRule { value: PathValue::Regex(Regex::new("^(?:/v.)$").unwrap()), is_inverted: false }),
                "/v1/x",
                None
            )
            .is_none()
        );
        let methods = |list: &[(Method, bool)]| ClientSelector { methods: list.to_vec(), ..ClientSelector::default() };
        assert!(select(&methods(&[(Method::GET, false), (Method::POST, false)]), "/", None).is_some());
        assert!(select(&methods(&[(Method::POST, true)]), "/", None).is_none());
        let outside = AddressSelector { range: "10.0.0.0/8".parse().unwrap(), is_inverted: true, is_distinct: false };
        assert!(select(&ClientSelector { address: Some(outside), ..ClientSelector::default() }, "/", None).is_none());
        let query =
            ClientSelector { query: vec![("a b".into(), ValueSelector::Exact("1+".into(), false))], ..ClientSelector::default() };
        assert!(select(&query, "/", Some("x&a%20b=1%2B&a%20b=2")).is_some());
        assert!(select(&query, "/", None).is_none());
    }
}
