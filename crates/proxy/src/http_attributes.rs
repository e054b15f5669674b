//! Values of attributes of OpenTelemetry's conventions for HTTP that spans and metrics share.

use std::fmt;

use http::Method;
use pailou_snapshot::PathMatch;

/// Methods that the conventions know; others are `_OTHER`, lest clients make names of spans and series.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];

const OTHER: &str = "_OTHER";

/// A method as the conventions have it, and the original where that is another.
pub(crate) fn method(method: &Method) -> (&'static str, Option<&str>) {
    match METHODS.iter().find(|known| **known == method.as_str()) {
        Some(known) => (known, None),
        None => (OTHER, Some(method.as_str())),
    }
}

/// Methods of the conventions, `_OTHER` among them.
pub(crate) const METHOD_COUNT: usize = METHODS.len() + 1;

/// A method's number among them.
pub(crate) fn method_number(method: &Method) -> usize {
    METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len())
}

/// The method of that number.
pub(crate) fn numbered_method(number: usize) -> &'static str {
    METHODS.get(number).copied().unwrap_or(OTHER)
}

/// A match's path as `http.route` has it.
pub(crate) struct HttpRoute<'a>(pub(crate) &'a PathMatch);

impl fmt::Display for HttpRoute<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            PathMatch::Exact(path) => f.write_str(path),
            PathMatch::Prefix(path) => write!(f, "{path}/*"),
            PathMatch::Regex(regex) => f.write_str(regex.as_str()),
        }
    }
}
