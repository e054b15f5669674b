//! Matches of an HTTPRoute's rule.

use std::fmt;

use serde::Deserialize;

use super::names::HeaderName;

/// Conditions that must all hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpRouteMatch {
    /// The prefix `/` by default.
    #[serde(default)]
    pub path: PathMatch,
    /// At most 16, all of which must hold.
    #[serde(default)]
    pub headers: Vec<HeaderMatch>,
    /// At most 16, all of which must hold.
    #[serde(default)]
    pub query_params: Vec<QueryParamMatch>,
    /// Any method when absent.
    #[serde(default)]
    pub method: Option<HttpMethod>,
}

/// A condition on a request's path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(from = "RawPathMatch")]
pub enum PathMatch {
    /// The whole path, case-sensitive.
    Exact(String),
    /// Whole leading segments: `/v1` matches `/v1` and `/v1/x`, not `/v1x`.
    PathPrefix(String),
    /// A regular expression over the whole path.
    RegularExpression(String),
}

impl PathMatch {
    /// The path, prefix or expression.
    pub fn value(&self) -> &str {
        match self {
            PathMatch::Exact(value) | PathMatch::PathPrefix(value) | PathMatch::RegularExpression(value) => value,
        }
    }
}

impl Default for PathMatch {
    fn default() -> PathMatch {
        PathMatch::PathPrefix("/".to_owned())
    }
}

#[derive(Deserialize)]
struct RawPathMatch {
    #[serde(rename = "type", default)]
    kind: PathMatchType,
    #[serde(default = "root")]
    value: String,
}

#[derive(Default, Deserialize)]
enum PathMatchType {
    Exact,
    #[default]
    PathPrefix,
    RegularExpression,
}

fn root() -> String {
    "/".to_owned()
}

impl From<RawPathMatch> for PathMatch {
    fn from(raw: RawPathMatch) -> PathMatch {
        match raw.kind {
            PathMatchType::Exact => PathMatch::Exact(raw.value),
            PathMatchType::PathPrefix => PathMatch::PathPrefix(raw.value),
            PathMatchType::RegularExpression => PathMatch::RegularExpression(raw.value),
        }
    }
}

/// How a text is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum MatchType {
    /// Equal.
    #[default]
    Exact,
    /// A regular expression over the whole value.
    RegularExpression,
}

/// A condition on a header.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct HeaderMatch {
    /// `Exact` by default.
    #[serde(rename = "type", default)]
    pub kind: MatchType,
    /// Compared without regard to case.
    pub name: HeaderName,
    /// The value or expression, 1 to 4096 characters.
    pub value: String,
}

/// A condition on a query parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct QueryParamMatch {
    /// `Exact` by default.
    #[serde(rename = "type", default)]
    pub kind: MatchType,
    /// Compared exactly.
    pub name: HeaderName,
    /// The value or expression, 1 to 1024 characters.
    pub value: String,
}

/// A request method that routes can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the methods of RFC 9110 and RFC 5789 by their names")]
pub enum HttpMethod {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
}

impl HttpMethod {
    /// The method as it stands in a request.
    pub fn as_str(self) -> &'static str {
        match self {
            HttpMethod::Get => "GET",
            HttpMethod::Head => "HEAD",
            HttpMethod::Post => "POST",
            HttpMethod::Put => "PUT",
            HttpMethod::Delete => "DELETE",
            HttpMethod::Connect => "CONNECT",
            HttpMethod::Options => "OPTIONS",
            HttpMethod::Trace => "TRACE",
            HttpMethod::Patch => "PATCH",
        }
    }
}

impl fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
