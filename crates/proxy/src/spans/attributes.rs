//! Attributes of HTTP that both sides of the gateway have.

use std::net::SocketAddr;

use http::Version;
use pailou_snapshot::Address;
use pailou_telemetry::{attributes::Attributes, text_writer::TextWriter};

use super::names::push_endpoints;
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
            attributes.built("server.address", |text| text.push_ip(address.ip()));
            attributes.number("server.port", address.port().into());
        }
        Address::Dns { host, port } => {
            attributes.text("server.address", host);
            attributes.number("server.port", (*port).into());
        }
        Address::Unix(path) => attributes.shown("server.address", path.display()),
    }
    attributes.built("url.full", |text| push_url(text, attempt));
    attributes.text("pailou.endpoint", &endpoint.name);
    attributes.built("pailou.backend", |text| push_endpoints(text, &attempt.cluster.key().endpoints));
}

/// URL of an attempt, without its query, which may hold secrets.
fn push_url(text: &mut TextWriter<'_>, attempt: &AttemptRecord) {
    text.push(if attempt.is_tls { "https://" } else { "http://" });
    match &attempt.endpoint.endpoint().address {
        Address::Socket(address) => push_socket(text, *address),
        Address::Dns { host, port } => {
            text.push_all([host, ":"]);
            text.push_number((*port).into());
        }
        Address::Unix(_) => text.push("localhost"),
    }
    text.push(attempt.path.path());
}

/// An address and port, as its `Display` has it.
fn push_socket(text: &mut TextWriter<'_>, address: SocketAddr) {
    match address {
        SocketAddr::V4(address) => {
            text.push_ip((*address.ip()).into());
            text.push(":");
            text.push_number(address.port().into());
        }
        SocketAddr::V6(address) => text.show(address),
    }
}
