//! Ends of the validity of listeners' certificates.

use std::{fmt, net::SocketAddr};

use pailou_snapshot::ListenerRef;
use pailou_telemetry::metric_table::gauges;
use prometheus_client::encoding::DescriptorEncoder;

use crate::{runtime::Runtime, tls};

/// A certificate that a listener presents.
pub(super) struct ListenerCertificate {
    pub(super) address: SocketAddr,
    pub(super) listener: String,
    /// Its place among the listener's.
    pub(super) place: String,
    /// End of its chain's validity, in seconds since 1970.
    pub(super) end: f64,
}

/// All certificates whose validity can be read.
pub(super) fn all(runtime: &Runtime) -> Vec<ListenerCertificate> {
    let mut found = Vec::new();
    for port in &runtime.snapshot().ports {
        for listener in port.listeners() {
            let name = match listener {
                ListenerRef::Http(listener) => &listener.name,
                ListenerRef::Connections(listener) => &listener.name,
            };
            let certificates = listener.tls().map(|tls| tls.certificates.as_slice()).unwrap_or_default();
            found.extend(certificates.iter().enumerate().filter_map(|(place, certificate)| {
                let end = tls::end_of_chain(&certificate.cert)? as f64;
                Some(ListenerCertificate { address: port.address, listener: name.to_string(), place: place.to_string(), end })
            }));
        }
    }
    found
}

/// Writes them.
pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, runtime: &Runtime) -> fmt::Result {
    let all = all(runtime);
    if all.is_empty() {
        return Ok(());
    }
    let addresses: Vec<_> = all.iter().map(|it| it.address.to_string()).collect();
    let rows = all.iter().zip(&addresses).map(|(it, address)| {
        ([("listener", it.listener.as_str()), ("address", address.as_str()), ("certificate", it.place.as_str())], it.end)
    });
    let help = "End of the validity of a listener's certificate, or of one in its chain that ends earlier, in seconds since 1970";
    gauges(encoder, "pailou_certificate_expiry_timestamp_seconds", help, rows)
}
