//! Databases of the places of addresses.

use std::{path::Path, sync::Arc};

/// Files in MaxMind's format. Source: Envoy Gateway's EnvoyProxy `geoIP`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeoSources {
    /// Cities, their regions and countries.
    pub city: Option<Arc<Path>>,
    /// Countries.
    pub country: Option<Arc<Path>>,
    /// Autonomous systems.
    pub asn: Option<Arc<Path>>,
    /// Internet service providers.
    pub isp: Option<Arc<Path>>,
    /// Clients that hide.
    pub anonymous: Option<Arc<Path>>,
}

impl GeoSources {
    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &Arc<Path>> {
        [&self.city, &self.country, &self.asn, &self.isp, &self.anonymous].into_iter().flatten()
    }

    /// The file that has countries: that of cities will do.
    pub fn of_countries(&self) -> Option<&Arc<Path>> {
        self.country.as_ref().or(self.city.as_ref())
    }
}
