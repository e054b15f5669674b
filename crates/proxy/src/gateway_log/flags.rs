//! Long names of response flags: Envoy's where it has the flag.

use crate::error::Flag;

/// The long name.
pub(super) fn long_name(flag: Flag) -> &'static str {
    match flag {
        Flag::NoRoute => "NoRouteFound",
        Flag::Misdirected => "MisdirectedRequest",
        Flag::Misconfigured => "NoClusterFound",
        Flag::NoEndpoint => "NoHealthyUpstream",
        Flag::Overflow => "UpstreamOverflow",
        Flag::AdmissionDenied => "AdmissionControlDenied",
        Flag::Timeout => "UpstreamRequestTimeout",
        Flag::StreamIdle => "StreamIdleTimeout",
        Flag::ConnectFailure => "UpstreamConnectionFailure",
        Flag::UpstreamReset => "UpstreamConnectionTermination",
        Flag::UpstreamProtocol => "UpstreamProtocolError",
        Flag::ClientGone => "DownstreamConnectionTermination",
        Flag::ClientBody => "DownstreamBodyIncomplete",
        Flag::BadRequest => "DownstreamProtocolError",
        Flag::TlsHandshake => "DownstreamTlsHandshakeFailure",
        Flag::OverLimit => "BodyTooLarge",
        Flag::Budget => "OverloadManagerTerminated",
        Flag::Shed => "PoolSaturated",
        Flag::Picker => "EndpointPickerFailure",
        Flag::Forbidden => "UnauthorizedExternalService",
        Flag::RateLimited => "RateLimited",
        Flag::RateLimitStore => "RateLimitServiceError",
        Flag::ExtProc => "ExternalProcessorFailure",
        Flag::Stopped => "GatewayStopped",
        Flag::Fault => "FaultInjected",
    }
}
