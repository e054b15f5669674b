//! `dns`: resolution of backends' names.

use serde::Deserialize;

use crate::duration::Duration;

/// Resolution of backends' names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsSettings {
    /// How long an answer holds where its own time does not count; 30s when absent.
    #[serde(default)]
    pub dns_refresh_rate: Option<Duration>,
    /// Whether an answer's own time counts; true when absent.
    #[serde(default)]
    pub respect_dns_ttl: Option<bool>,
    /// Families of addresses; both when absent.
    #[serde(default)]
    pub lookup_family: Option<DnsLookupFamily>,
}

/// Families of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum DnsLookupFamily {
    /// IPv4 alone.
    IPv4,
    /// IPv6 alone.
    IPv6,
    /// IPv4, or IPv6 where there is none.
    IPv4Preferred,
    /// IPv6, or IPv4 where there is none.
    IPv6Preferred,
    /// All addresses.
    IPv4AndIPv6,
}
