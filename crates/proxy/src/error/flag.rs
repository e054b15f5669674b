//! Flags of responses, and whose doing each is.

use http::StatusCode;

/// Why a response is not what a backend said, as a short code for logs. Envoy's response flags where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// No listener or route matches.
    NoRoute,
    /// The TLS connection was made for another listener than the request names.
    Misdirected,
    /// The route cannot be served as it is configured.
    Misconfigured,
    /// No endpoint is there, or none is healthy.
    NoEndpoint,
    /// A circuit breaker is open.
    Overflow,
    /// Too many requests to the backend failed, and admission control keeps some from it.
    AdmissionDenied,
    /// A clock of the request ran out while the backend was waited for.
    Timeout,
    /// No byte moved for too long.
    StreamIdle,
    /// No connection to a backend could be made.
    ConnectFailure,
    /// The backend broke off.
    UpstreamReset,
    /// The backend speaks no valid HTTP.
    UpstreamProtocol,
    /// The client went away.
    ClientGone,
    /// The client's body did not arrive in time, or broke off.
    ClientBody,
    /// The client's request is not valid HTTP.
    BadRequest,
    /// The client's TLS handshake failed.
    TlsHandshake,
    /// The body is longer than the route allows.
    OverLimit,
    /// The bodies of all requests together are more than the process holds.
    Budget,
    /// The pool is saturated, and the request is sheddable.
    Shed,
    /// The pool's endpoint picker does not answer, or ended the request.
    Picker,
    /// The client may not do this.
    Forbidden,
    /// A limit of requests or tokens has no room.
    RateLimited,
    /// The store of limits does not answer, and is to.
    RateLimitStore,
    /// An external processor failed, or answered in the backend's place.
    ExtProc,
    /// The gateway stopped before the response was through.
    Stopped,
    /// Fault injection failed the request on purpose.
    Fault,
}

impl Flag {
    /// The code in access log and header.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoRoute => "NR",
            Self::Misdirected => "MD",
            Self::Misconfigured => "NC",
            Self::NoEndpoint => "UH",
            Self::Overflow => "UO",
            Self::AdmissionDenied => "AC",
            Self::Timeout => "UT",
            Self::StreamIdle => "SI",
            Self::ConnectFailure => "UF",
            Self::UpstreamReset => "UC",
            Self::UpstreamProtocol => "UPE",
            Self::ClientGone => "DC",
            Self::ClientBody => "DB",
            Self::BadRequest => "DPE",
            Self::TlsHandshake => "TLS",
            Self::OverLimit => "OL",
            Self::Budget => "OM",
            Self::Shed => "SH",
            Self::Picker => "EP",
            Self::Forbidden => "UAEX",
            Self::RateLimited => "RL",
            Self::RateLimitStore => "RLSE",
            Self::ExtProc => "XP",
            Self::Stopped => "ST",
            Self::Fault => "FI",
        }
    }

    /// All of them.
    pub const ALL: [Self; Self::Fault as usize + 1] = [
        Self::NoRoute,
        Self::Misdirected,
        Self::Misconfigured,
        Self::NoEndpoint,
        Self::Overflow,
        Self::AdmissionDenied,
        Self::Timeout,
        Self::StreamIdle,
        Self::ConnectFailure,
        Self::UpstreamReset,
        Self::UpstreamProtocol,
        Self::ClientGone,
        Self::ClientBody,
        Self::BadRequest,
        Self::TlsHandshake,
        Self::OverLimit,
        Self::Budget,
        Self::Shed,
        Self::Picker,
        Self::Forbidden,
        Self::RateLimited,
        Self::RateLimitStore,
        Self::ExtProc,
        Self::Stopped,
        Self::Fault,
    ];

    /// The party whose doing it is.
    pub fn cause(self) -> Cause {
        match self {
            Self::NoRoute
            | Self::Misdirected
            | Self::ClientGone
            | Self::ClientBody
            | Self::BadRequest
            | Self::TlsHandshake
            | Self::OverLimit
            | Self::Forbidden
            | Self::RateLimited => Cause::Client,
            Self::Misconfigured
            | Self::Overflow
            | Self::AdmissionDenied
            | Self::Budget
            | Self::Shed
            | Self::RateLimitStore
            | Self::Stopped
            | Self::Fault => Cause::Gateway,
            Self::NoEndpoint
            | Self::Timeout
            | Self::StreamIdle
            | Self::ConnectFailure
            | Self::UpstreamReset
            | Self::UpstreamProtocol => Cause::Backend,
            Self::Picker => Cause::EndpointPicker,
            Self::ExtProc => Cause::ExternalProcessor,
        }
    }

    /// Whether the client is the cause, by what it sent or did.
    pub fn is_of_client(self) -> bool {
        self.cause() == Cause::Client
    }

    /// The status of a response that has the flag.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Misconfigured | Self::ExtProc | Self::RateLimitStore => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoEndpoint
            | Self::Overflow
            | Self::AdmissionDenied
            | Self::ConnectFailure
            | Self::UpstreamReset
            | Self::Budget
            | Self::Picker
            | Self::Stopped
            | Self::Fault => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamProtocol => StatusCode::BAD_GATEWAY,
            Self::Timeout | Self::StreamIdle => StatusCode::GATEWAY_TIMEOUT,
            Self::ClientGone | Self::BadRequest | Self::TlsHandshake => StatusCode::BAD_REQUEST,
            Self::ClientBody => StatusCode::REQUEST_TIMEOUT,
            Self::OverLimit => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Shed | Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Forbidden => StatusCode::FORBIDDEN,
        }
    }
}

/// The party that has to act, as the reference of flags says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The client.
    Client,
    /// The gateway, or its operator.
    Gateway,
    /// The backend.
    Backend,
    /// The endpoint picker of an InferencePool.
    EndpointPicker,
    /// An external processor.
    ExternalProcessor,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Client, Self::Gateway, Self::Backend, Self::EndpointPicker, Self::ExternalProcessor];

    /// Its name in the reference.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Backend => "backend",
            Self::EndpointPicker => "endpoint picker",
            Self::ExternalProcessor => "external processor",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_reference_names_the_cause_of_each_flag() {
        let reference = include_str!("../../../../docs/reference/errors.md");
        let rows = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let stated: BTreeSet<_> =
            rows.filter_map(|(flag, rest)| Some((flag, rest.trim_end_matches(" |").rsplit_once("| ")?.1))).collect();
        let stated = stated.into_iter().filter(|(flag, _)| !flag.starts_with("rejected-") && !flag.starts_with('/'));
        let ours: BTreeSet<_> = Flag::ALL.into_iter().map(|flag| (flag.code(), flag.cause().name())).collect();
        assert_eq!(stated.collect::<BTreeSet<_>>(), ours);
    }
}
