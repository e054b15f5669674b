//! Place of a request's client, found once for all rules that look at it.

use std::{net::IpAddr, sync::Arc};

use pailou_auth::{GeoLocation, GeoNeeds};
use pailou_snapshot::GeoSources;
use parking_lot::Mutex;

use crate::{error::Error, geo_databases::GeoDatabases};

/// Place of the client's address, as far as rules have looked at it.
#[derive(Default)]
pub(crate) struct ClientPlace(Mutex<Option<(GeoNeeds, Arc<GeoLocation>)>>);

impl ClientPlace {
    /// The place, as far as rules need it; `None` where they need nothing.
    ///
    /// # Errors
    /// 500: nobody can say what the rules would.
    pub(super) fn find(
        &self,
        databases: &GeoDatabases,
        sources: Option<&GeoSources>,
        needs: GeoNeeds,
        client: IpAddr,
    ) -> Result<Option<Arc<GeoLocation>>, Error> {
        if !needs.any() {
            return Ok(None);
        }
        let mut known = self.0.lock();
        if let Some((found, location)) = &*known
            && found.covers(needs)
        {
            return Ok(Some(Arc::clone(location)));
        }
        let sources = sources.ok_or_else(|| "the Gateway's EnvoyProxy has no geoIP".to_owned());
        // With what was found before, so that rules in turn do not look each other's up again.
        let mut all = needs;
        if let Some((found, _)) = &*known {
            all |= *found;
        }
        let location = sources.and_then(|sources| databases.locate(sources, all, client)).map(Arc::new);
        let location =
            location.map_err(|reason| Error::misconfigured(&format!("authorization by clientIPGeoLocations: {reason}")))?;
        *known = Some((all, Arc::clone(&location)));
        Ok(Some(location))
    }
}
