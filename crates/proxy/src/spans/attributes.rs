//! Attributes of HTTP that both sides of the gateway have.

use std::fmt;

use http::Version;
use pailou_snapshot::Address;
use pailou_telemetry::span::Attributes;

use crate::attempt_record::AttemptRecord;

/// A version of HTTP.
pub(super) fn protocol_version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

/// The endpoint of an attempt, as it was asked.
pub(super) fn endpoint_address(attributes: &mut Attributes<'_>, attempt: &AttemptRecord) {
    let endpoint = attempt.endpoint.endpoint();
    match &endpoint.address {
        Address::Socket(address) => {
            attributes.shown("server.address", address.ip());
            attributes.number("server.port", address.port().into());
        }
        Address::Dns { host, port } => {
            attributes.text("server.address", host);
            attributes.number("server.port", (*port).into());
        }
        Address::Unix(path) => attributes.shown("server.address", path.display()),
    }
    attributes.shown("url.full", Url(attempt));
    attributes.text("pailou.endpoint", &endpoint.name);
    attributes.shown("pailou.backend", &attempt.cluster.key().endpoints);
}

/// URL of an attempt, without its query, which may hold secrets.
struct Url<'a>(&'a AttemptRecord);

impl fmt::Display for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(attempt) = self;
        let scheme = if attempt.is_tls { "https" } else { "http" };
        match &attempt.endpoint.endpoint().address {
            Address::Socket(address) => write!(f, "{scheme}://{address}")?,
            Address::Dns { host, port } => write!(f, "{scheme}://{host}:{port}")?,
            Address::Unix(_) => write!(f, "{scheme}://localhost")?,
        }
        f.write_str(attempt.path.path())
    }
}
