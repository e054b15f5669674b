//! `envoy.service.ratelimit.v3`: questions to a rate limit service, and its answers.

use bytes::Bytes;
use http::{HeaderMap, Request, response::Parts};
use prost::Message;
use prost_types::Struct;

use crate::{
    core::{HeaderValue, HeaderValueOption},
    ext_proc::HeaderMutation,
    grpc::{CallFailure, unary_answer, unary_call},
};

const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// A question: is there room for a request?
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RateLimitRequest {
    /// The part of the service's configuration that is meant.
    #[prost(string, tag = "1")]
    pub domain: String,
    /// Counters that the request is charged to.
    #[prost(message, repeated, tag = "2")]
    pub descriptors: Vec<RateLimitDescriptor>,
    /// Cost for the descriptors that have none of their own; 0 counts as 1.
    #[prost(uint32, tag = "3")]
    pub hits_addend: u32,
}

/// `envoy.extensions.common.ratelimit.v3`: a counter, by what it is counted by.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RateLimitDescriptor {
    /// Keys and values, the outermost first.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
    /// A limit in place of the service's own.
    #[prost(message, optional, tag = "2")]
    pub limit: Option<RateLimitOverride>,
    /// Cost; 0 only looks.
    #[prost(message, optional, tag = "3")]
    pub hits_addend: Option<u64>,
}

/// A key and its value.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Entry {
    /// Key.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A limit in place of the service's own.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct RateLimitOverride {
    /// Cost that a window has room for.
    #[prost(uint32, tag = "1")]
    pub requests_per_unit: u32,
    /// Length of the window.
    #[prost(enumeration = "Unit", tag = "2")]
    pub unit: i32,
}

/// Lengths of windows. A service that does not know `Week` takes it as it takes `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
#[expect(missing_docs, reason = "units of time by their names")]
pub enum Unit {
    Unknown = 0,
    Second = 1,
    Minute = 2,
    Hour = 3,
    Day = 4,
    /// 30 days.
    Month = 5,
    /// 365 days.
    Year = 6,
    Week = 7,
}

impl Unit {
    /// Length in seconds; `None` if it is not known.
    pub fn seconds(self) -> Option<u64> {
        const DAY: u64 = 24 * 60 * 60;
        Some(match self {
            Self::Unknown => return None,
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Month => 30 * DAY,
            Self::Year => 365 * DAY,
        })
    }

    /// The unit of this length.
    pub fn of_seconds(seconds: u64) -> Option<Self> {
        let units = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];
        units.into_iter().find(|unit| unit.seconds() == Some(seconds))
    }
}

/// An answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RateLimitResponse {
    /// Whether there is room everywhere.
    #[prost(enumeration = "Code", tag = "1")]
    pub overall_code: i32,
    /// State of each descriptor's counter, in the order of the question.
    #[prost(message, repeated, tag = "2")]
    pub statuses: Vec<DescriptorStatus>,
    /// Headers to add to the response.
    #[prost(message, repeated, tag = "3")]
    pub response_headers_to_add: Vec<HeaderValue>,
    /// Headers to add to the request.
    #[prost(message, repeated, tag = "4")]
    pub request_headers_to_add: Vec<HeaderValue>,
    /// Body of the response to a request that there is no room for.
    #[prost(bytes = "bytes", tag = "5")]
    pub raw_body: Bytes,
    /// Facts for filters that come later.
    #[prost(message, optional, tag = "6")]
    pub dynamic_metadata: Option<Struct>,
}

/// Whether there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Code {
    /// The service does not say.
    Unknown = 0,
    /// There is.
    Ok = 1,
    /// There is none.
    OverLimit = 2,
}

/// State of a counter.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DescriptorStatus {
    /// Whether it has room.
    #[prost(enumeration = "Code", tag = "1")]
    pub code: i32,
    /// The limit; absent where the service has none for the descriptor.
    #[prost(message, optional, tag = "2")]
    pub current_limit: Option<CurrentLimit>,
    /// Room left.
    #[prost(uint32, tag = "3")]
    pub limit_remaining: u32,
    /// Time to the end of the window.
    #[prost(message, optional, tag = "4")]
    pub duration_until_reset: Option<prost_types::Duration>,
}

/// A limit of the service's configuration.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct CurrentLimit {
    /// Cost that a window has room for.
    #[prost(uint32, tag = "1")]
    pub requests_per_unit: u32,
    /// Length of the window.
    #[prost(enumeration = "Unit", tag = "2")]
    pub unit: i32,
    /// Name.
    #[prost(string, tag = "3")]
    pub name: String,
}

impl DescriptorStatus {
    /// Seconds to the end of the window.
    pub fn seconds_until_reset(&self) -> u64 {
        self.duration_until_reset.and_then(|it| u64::try_from(it.seconds).ok()).unwrap_or(0)
    }
}

/// Why an answer decides nothing.
#[derive(Debug)]
pub enum AnswerError {
    /// The call failed.
    Call(CallFailure),
    /// The message is none of the protocol's.
    Message(prost::DecodeError),
    /// It has no code.
    NoCode,
}

impl AnswerError {
    /// Whether the service, or what stands before it, answers nobody: an HTTP status, or the gRPC statuses DEADLINE_EXCEEDED and UNAVAILABLE.
    /// Any other answer is about its question.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Call(CallFailure::Grpc { code, .. }) => matches!(code.as_str(), "4" | "14"),
            Self::Call(CallFailure::Status(_)) => true,
            Self::Call(CallFailure::Framing) | Self::Message(_) | Self::NoCode => false,
        }
    }
}

impl std::fmt::Display for AnswerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(failure) => failure.fmt(f),
            Self::Message(error) => write!(f, "its answer is unreadable: {error}"),
            Self::NoCode => f.write_str("its answer has no code"),
        }
    }
}

impl std::error::Error for AnswerError {}

/// The gRPC call for a question; the caller adds the host.
pub fn call(question: &RateLimitRequest) -> Request<Bytes> {
    unary_call(PATH, question)
}

/// Reads the answer to a call. Its code is [`Code::Ok`] or [`Code::OverLimit`].
///
/// # Errors
/// The call failed, or its answer decides nothing.
pub fn answer(head: &Parts, body: &Bytes, trailers: Option<&HeaderMap>) -> Result<RateLimitResponse, AnswerError> {
    let message = unary_answer(head, body, trailers).map_err(AnswerError::Call)?;
    let answer = RateLimitResponse::decode(message).map_err(AnswerError::Message)?;
    match answer.overall_code() {
        Code::Ok | Code::OverLimit => Ok(answer),
        Code::Unknown => Err(AnswerError::NoCode),
    }
}

impl RateLimitResponse {
    /// Changes of the client's response: headers add to what is there. The type of content is none of them.
    pub fn response_headers(&self) -> Option<HeaderMutation> {
        mutation(self.response_headers_to_add.iter().filter(|header| !is_content_type(header)), true)
    }

    /// Type of [`Self::raw_body`].
    pub fn body_type(&self) -> Option<http::HeaderValue> {
        let header = self.response_headers_to_add.iter().find(|header| is_content_type(header))?;
        http::HeaderValue::from_bytes(header.bytes()).ok()
    }

    /// Changes of the request: the service alone sets the headers that it names.
    pub fn request_headers(&self) -> Option<HeaderMutation> {
        mutation(self.request_headers_to_add.iter(), false)
    }
}

fn is_content_type(header: &HeaderValue) -> bool {
    header.key.eq_ignore_ascii_case("content-type")
}

fn mutation<'h>(headers: impl Iterator<Item = &'h HeaderValue>, adds_up: bool) -> Option<HeaderMutation> {
    let option = |header: &HeaderValue| HeaderValueOption {
        header: Some(header.clone()),
        append: Some(adds_up),
        append_action: 0,
        keep_empty_value: true,
    };
    let set_headers: Vec<_> = headers.map(option).collect();
    (!set_headers.is_empty()).then_some(HeaderMutation { set_headers, remove_headers: Vec::new() })
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;
    use crate::frame;

    fn read(answer: &RateLimitResponse, status: &str) -> Result<RateLimitResponse, AnswerError> {
        let (head, ()) = Response::new(()).into_parts();
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
        super::answer(&head, &frame::encode(answer), Some(&trailers))
    }

    #[test]
    fn a_question_is_written_as_the_service_reads_it() {
        let descriptor = RateLimitDescriptor {
            entries: vec![Entry { key: "k".into(), value: "v".into() }],
            limit: Some(RateLimitOverride { requests_per_unit: 5, unit: Unit::Week as i32 }),
            hits_addend: Some(0),
        };
        let question = RateLimitRequest { domain: "d".into(), descriptors: vec![descriptor], hits_addend: 0 };
        // An addend of zero is there, as an empty message.
        let expected = [10, 1, b'd', 18, 16, 10, 6, 10, 1, b'k', 18, 1, b'v', 18, 4, 8, 5, 16, 7, 26, 0];
        assert_eq!(question.encode_to_vec(), expected);
        let call = call(&question);
        assert_eq!((call.uri().path(), call.body().len()), (PATH, expected.len() + 5));
    }

    #[test]
    fn an_answer_without_a_code_decides_nothing() {
        let ok = RateLimitResponse { overall_code: Code::Ok as i32, ..RateLimitResponse::default() };
        assert!(read(&ok, "0").is_ok());
        assert!(matches!(read(&RateLimitResponse::default(), "0"), Err(AnswerError::NoCode)));
        let other = RateLimitResponse { overall_code: 9, ..RateLimitResponse::default() };
        assert!(matches!(read(&other, "0"), Err(AnswerError::NoCode)));
        assert!(matches!(read(&ok, "14"), Err(AnswerError::Call(CallFailure::Grpc { .. }))));
    }

    #[test]
    fn headers_of_the_request_are_the_service_s_alone_and_those_of_the_response_add_up() {
        let headers = |key: &str| vec![HeaderValue::new(key, "new")];
        let answer = RateLimitResponse {
            response_headers_to_add: headers("x-a").into_iter().chain(headers("Content-Type")).collect(),
            request_headers_to_add: headers("x-a"),
            ..RateLimitResponse::default()
        };
        let changed = |mutation: Option<HeaderMutation>| {
            let old = [("x-a", "old"), ("content-type", "old")];
            let mut headers: HeaderMap =
                old.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).into_iter().collect();
            crate::header_mutation::apply(&mutation.unwrap(), &mut headers);
            ["x-a", "content-type"].map(|name| headers.get_all(name).iter().count())
        };
        assert_eq!(changed(answer.response_headers()), [2, 1]);
        assert_eq!(answer.body_type().unwrap(), "new");
        assert_eq!(changed(answer.request_headers()), [1, 1]);
        let nothing = RateLimitResponse::default();
        assert!(nothing.response_headers().is_none() && nothing.body_type().is_none());
    }

    #[test]
    fn units_are_known_by_their_length() {
        for unit in [1, 2, 3, 4, 5, 6, 7].map(|number| Unit::try_from(number).unwrap()) {
            assert_eq!(unit.seconds().and_then(Unit::of_seconds), Some(unit));
        }
        assert_eq!((Unit::Unknown.seconds(), Unit::of_seconds(61)), (None, None));
    }
}
