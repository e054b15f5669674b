//! Databases of the places of addresses, in MaxMind's format: files that the proxy reads when the configuration names them, and again when
//! they have changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use maxminddb::Reader;
use pailou_auth::{AnonymousSigns, GeoLocation, GeoNeeds};
use pailou_snapshot::{GeoSources, Snapshot};
use parking_lot::Mutex;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{runtime::Handle, task::spawn_blocking, time::sleep};

/// Longest file, in bytes. It is held in memory.
const MAX_FILE: u64 = 1 << 30;
/// How often files are looked at, as a program beside the proxy may put newer ones in their places.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// All databases of a process.
#[derive(Default)]
pub struct GeoDatabases {
    open: ArcSwap<BTreeMap<Arc<Path>, Arc<Database>>>,
    /// Held while files are read.
    reading: Mutex<()>,
}

/// A file as it was read.
struct Database {
    /// Its length and when it was changed; `None` if there is no file.
    version: Option<(u64, Option<SystemTime>)>,
    reader: Result<Reader<Vec<u8>>, String>,
}

impl GeoDatabases {
    /// Reads the files that a configuration names, and lets go of others.
    pub(crate) fn follow(&self, snapshot: &Snapshot) {
        let files: BTreeSet<Arc<Path>> = snapshot.geo_sources().flat_map(GeoSources::files).cloned().collect();
        if files.is_empty() && self.open.load().is_empty() {
            return;
        }
        self.read(|_| files);
    }

    /// Looks at the files again and again, for as long as the databases are there.
    pub(crate) fn keep_fresh(self: &Arc<Self>, tasks: &Handle) {
        let databases = Arc::downgrade(self);
        tasks.spawn(async move {
            loop {
                sleep(REFRESH_INTERVAL).await;
                let Some(databases) = databases.upgrade() else { return };
                // Files of a hundred megabytes are read beside the requests.
                let _ = spawn_blocking(move || databases.refresh()).await;
            }
        });
    }

    /// Reads the files again that have changed.
    fn refresh(&self) {
        if !self.open.load().is_empty() {
            self.read(|open| open.keys().cloned().collect());
        }
    }

    /// Reads files, chosen from those that are open once nobody else reads.
    fn read(&self, choose: impl FnOnce(&BTreeMap<Arc<Path>, Arc<Database>>) -> BTreeSet<Arc<Path>>) {
        let _reading = self.reading.lock();
        let before = self.open.load();
        let read = |path: Arc<Path>| {
            let known = before.get(&path);
            // What failed is tried again: permissions may be other ones, or there may be files to open again.
            let kept = known.filter(|database| database.reader.is_ok() && database.version == version(&path));
            let database = kept.cloned().unwrap_or_else(|| Arc::new(Database::read(&path, known.map(|known| &**known))));
            (path, database)
        };
        self.open.store(Arc::new(choose(&before).into_iter().map(read).collect()));
    }

    /// The place of an address, as far as rules look at it.
    ///
    /// # Errors
    /// Why a database cannot tell, for the operator.
    pub(crate) fn locate(&self, sources: &GeoSources, needs: GeoNeeds, client: IpAddr) -> Result<GeoLocation, String> {
        let open = self.open.load();
        let find = |file: Option<&Arc<Path>>, field: &str| {
            let path = file.ok_or_else(|| format!("the Gateway's EnvoyProxy names no database of {field}"))?;
            open.get(path).ok_or_else(|| format!("{} is not read yet", path.display()))
        };
        let mut location = GeoLocation::default();
        if needs.city {
            let city: City = find(sources.city.as_ref(), "cities")?.look_up(client)?;
            location.region = city.subdivisions.into_iter().next().and_then(|it| it.iso_code).map(Into::into);
            location.city = city.city.and_then(|it| it.names.en).map(Into::into);
        }
        if needs.country {
            let country: Country = find(sources.of_countries(), "countries")?.look_up(client)?;
            location.country = country.country.and_then(|it| it.iso_code).map(Into::into);
        }
        if needs.asn {
            let system: AutonomousSystem = find(sources.asn.as_ref(), "autonomous systems")?.look_up(client)?;
            location.asn = system.autonomous_system_number;
        }
        if needs.isp {
            let provider: Provider = find(sources.isp.as_ref(), "internet service providers")?.look_up(client)?;
            location.isp = provider.isp.map(Into::into);
        }
        if needs.anonymous {
            let signs: Anonymous = find(sources.anonymous.as_ref(), "clients that hide")?.look_up(client)?;
            location.anonymous = AnonymousSigns {
                is_anonymous: signs.is_anonymous,
                is_vpn: signs.is_anonymous_vpn,
                is_hosting: signs.is_hosting_provider,
                is_tor: signs.is_tor_exit_node,
                is_proxy: signs.is_public_proxy,
            };
        }
        Ok(location)
    }

    /// Files with whether they can be used.
    pub(crate) fn states(&self) -> Vec<(String, bool)> {
        self.open.load().iter().map(|(path, database)| (path.display().to_string(), database.reader.is_ok())).collect()
    }
}

impl Database {
    /// Reads a file. A failure that is known already is not logged again.
    fn read(path: &Path, known: Option<&Self>) -> Self {
        let version = version(path);
        let reader = match version {
            None => Err("there is no such file, or the proxy may not read it".to_owned()),
            Some((length, _)) if length > MAX_FILE => Err(format!("it is longer than {MAX_FILE} bytes")),
            Some(_) => fs::read(path)
                .map_err(|error| error.to_string())
                .and_then(|bytes| Reader::from_source(bytes).map_err(|error| error.to_string())),
        };
        let reader = reader.map_err(|reason| format!("{}: {reason}", path.display()));
        match &reader {
            Ok(reader) => {
                tracing::info!(path = %path.display(), kind = %reader.metadata().database_type, "a database of places is in use")
            }
            Err(reason) if known.is_some_and(|known| known.reader.as_ref().err() == Some(reason)) => {}
            Err(reason) => tracing::error!(%reason, "a database of places cannot be used: rules that look at it refuse everyone"),
        }
        Self { version, reader }
    }

    /// The record of an address; an empty one where there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is a database of something else: that would know of no address.
    fn look_up<T: Record>(&self, address: IpAddr) -> Result<T, String> {
        let reader = self.reader.as_ref().map_err(Clone::clone)?;
        let kind = &reader.metadata().database_type;
        if !T::KINDS.iter().any(|known| kind.contains(known)) {
            return Err(format!(
                "a database of the kind {kind} cannot tell: its kind has none of the names {}",
                T::KINDS.join(", ")
            ));
        }
        // Clients of both families may come by one socket; a database may know one.
        let address = address.to_canonical();
        if address.is_ipv6() && reader.metadata().ip_version == 4 {
            return Ok(T::default());
        }
        let found = reader.lookup(address).and_then(|found| found.decode()).map_err(|error| error.to_string())?;
        Ok(found.unwrap_or_default())
    }
}

/// A record of a database.
trait Record: DeserializeOwned + Default {
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

fn version(path: &Path) -> Option<(u64, Option<SystemTime>)> {
    let of = |metadata: Metadata| (metadata.len(), metadata.modified().ok());
    fs::metadata(path).ok().filter(Metadata::is_file).map(of)
}

#[derive(Default, Deserialize)]
struct Country {
    country: Option<Coded>,
}

#[derive(Default, Deserialize)]
struct City {
    city: Option<Named>,
    #[serde(default)]
    subdivisions: Vec<Coded>,
}

#[derive(Deserialize)]
struct Coded {
    iso_code: Option<String>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    names: Names,
}

#[derive(Default, Deserialize)]
struct Names {
    en: Option<String>,
}

#[derive(Default, Deserialize)]
struct AutonomousSystem {
    autonomous_system_number: Option<u32>,
}

#[derive(Default, Deserialize)]
struct Provider {
    isp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Anonymous {
    is_anonymous: bool,
    is_anonymous_vpn: bool,
    is_hosting_provider: bool,
    is_tor_exit_node: bool,
    is_public_proxy: bool,
}
