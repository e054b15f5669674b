//! Responses replaced by others.

use serde::Deserialize;

use super::body::CustomResponseBody;
use super::string_match::StringMatch;
use crate::header_filter::HeaderFilter;
use crate::http_filter::RequestRedirect;
use crate::names::HeaderName;

/// Responses that are replaced, and their replacement; exactly one of `response` and `redirect` is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ResponseOverride {
    /// Responses that are replaced.
    #[serde(rename = "match")]
    pub matches: ResponseMatch,
    /// Origin of the responses; all when absent.
    #[serde(default)]
    pub source: Option<ResponseSource>,
    /// Another response.
    #[serde(default)]
    pub response: Option<CustomResponse>,
    /// A redirect.
    #[serde(default)]
    pub redirect: Option<RequestRedirect>,
}

/// Origin of the responses to replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ResponseSource {
    /// Anyone's.
    All,
    /// The gateway's own.
    Local,
    /// The backend's.
    Backend,
}

/// Responses; at least one field is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseMatch {
    /// Any of them, at most 50.
    #[serde(default)]
    pub status_codes: Vec<StatusCodeMatch>,
    /// All of them, at most 16.
    #[serde(default)]
    pub response_headers: Vec<ResponseHeaderMatch>,
}

/// A status, or a range of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawStatusCodeMatch")]
pub enum StatusCodeMatch {
    /// One status.
    Value(u16),
    /// From the first to the second, both included.
    Range(u16, u16),
}

impl StatusCodeMatch {
    /// Whether the status is meant.
    pub fn contains(self, status: u16) -> bool {
        match self {
            StatusCodeMatch::Value(value) => value == status,
            StatusCodeMatch::Range(start, end) => (start..=end).contains(&status),
        }
    }
}

/// A status match whose `type` and fields do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStatusCodeMatch {
    /// `type: Value` without a value.
    #[error("a status code match of type Value needs the field value")]
    Value,
    /// `type: Range` without a range.
    #[error("a status code match of type Range needs the field range")]
    Range,
    /// A range that ends before it starts.
    #[error("a status code range must end after it starts")]
    Empty,
}

#[derive(Deserialize)]
struct RawStatusCodeMatch {
    #[serde(rename = "type", default)]
    kind: StatusCodeMatchType,
    #[serde(default)]
    value: Option<u16>,
    #[serde(default)]
    range: Option<RawRange>,
}

#[derive(Default, Deserialize)]
enum StatusCodeMatchType {
    #[default]
    Value,
    Range,
}

#[derive(Deserialize)]
struct RawRange {
    start: u16,
    end: u16,
}

impl TryFrom<RawStatusCodeMatch> for StatusCodeMatch {
    type Error = InvalidStatusCodeMatch;

    fn try_from(raw: RawStatusCodeMatch) -> Result<StatusCodeMatch, InvalidStatusCodeMatch> {
        match raw.kind {
            StatusCodeMatchType::Value => raw.value.map(StatusCodeMatch::Value).ok_or(InvalidStatusCodeMatch::Value),
            StatusCodeMatchType::Range => match raw.range.ok_or(InvalidStatusCodeMatch::Range)? {
                RawRange { start, end } if start < end => Ok(StatusCodeMatch::Range(start, end)),
                _ => Err(InvalidStatusCodeMatch::Empty),
            },
        }
    }
}

/// A condition on a response's header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ResponseHeaderMatch {
    /// The header's name.
    pub name: HeaderName,
    /// The condition on its value.
    pub value: StringMatch,
}

/// Another response.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomResponse {
    /// The Content-Type.
    #[serde(default)]
    pub content_type: Option<String>,
    /// The body; the original's when absent.
    #[serde(default)]
    pub body: Option<CustomResponseBody>,
    /// The status; the original's when absent.
    #[serde(default)]
    pub status_code: Option<u16>,
    /// Further headers.
    #[serde(default)]
    pub header: Option<HeaderFilter>,
}
