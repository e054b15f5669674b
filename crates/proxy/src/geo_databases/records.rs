//! Records of databases, as far as rules look at them.

use serde::{Deserialize, de::DeserializeOwned};

/// A record of a database.
pub(super) trait Record: DeserializeOwned + Default {
    /// Parts of the names of databases that have such records, as MaxMind and DB-IP name theirs.
    const KINDS: &'static [&'static str];
}

impl Record for Country {
    const KINDS: &'static [&'static str] = &["Country", "City", "Enterprise"];
}

impl Record for City {
    const KINDS: &'static [&'static str] = &["City", "Enterprise"];
}

impl Record for AutonomousSystem {
    const KINDS: &'static [&'static str] = &["ASN", "ISP", "Enterprise"];
}

impl Record for Provider {
    const KINDS: &'static [&'static str] = &["ISP", "Enterprise"];
}

impl Record for Anonymous {
    const KINDS: &'static [&'static str] = &["Anonymous"];
}

#[derive(Default, Deserialize)]
pub(super) struct Country {
    pub(super) country: Option<Coded>,
}

#[derive(Default, Deserialize)]
pub(super) struct City {
    pub(super) city: Option<Named>,
    #[serde(default)]
    pub(super) subdivisions: Vec<Coded>,
}

#[derive(Deserialize)]
pub(super) struct Coded {
    pub(super) iso_code: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Named {
    #[serde(default)]
    pub(super) names: Names,
}

#[derive(Default, Deserialize)]
pub(super) struct Names {
    pub(super) en: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct AutonomousSystem {
    pub(super) autonomous_system_number: Option<u32>,
}

#[derive(Default, Deserialize)]
pub(super) struct Provider {
    pub(super) isp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Anonymous {
    pub(super) is_anonymous: bool,
    pub(super) is_anonymous_vpn: bool,
    pub(super) is_hosting_provider: bool,
    pub(super) is_tor_exit_node: bool,
    pub(super) is_public_proxy: bool,
}
