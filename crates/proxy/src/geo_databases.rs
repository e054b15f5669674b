//! Databases of the places of addresses, in MaxMind's format: files that the proxy reads when the configuration names them, and again when
//! they have changed.

mod records;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, Metadata},
    net::IpAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use maxminddb::Reader;
use pailou_auth::{AnonymousSigns, GeoLocation, GeoNeeds};
use pailou_snapshot::{GeoSources, Snapshot};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, sleep, timeout_at},
};

use records::{Anonymous, AutonomousSystem, City, Country, Provider, Record};

/// Longest file, in bytes. It is held in memory.
const MAX_FILE: u64 = 1 << 30;
/// How often files are looked at, as a program beside the proxy may put newer ones in their places.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
/// Longest time that a request waits for files to be read: a volume may hang.
const GEO_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// All databases of a process.
#[derive(Default)]
pub struct GeoDatabases {
    open: ArcSwap<BTreeMap<Arc<Path>, Arc<Slot>>>,
    /// Held while files come and go.
    changing: Mutex<()>,
}

/// Place of a database, from before its file has been read.
struct Slot {
    database: ArcSwapOption<Database>,
    /// Told when the file has been read.
    was_read: Notify,
    /// Held while the file is read.
    reading: Mutex<()>,
    /// A read is to begin.
    is_queued: AtomicBool,
    usage: Mutex<Use>,
}

/// Whether a configuration names a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// The newest does.
    Named,
    /// One did before: requests under way may still look at it.
    Left,
    /// No request that began under that is likely to be under way.
    Over,
}

/// A file as it was read.
struct Database {
    /// Its length and when it was changed; `None` if there is no file.
    version: Option<(u64, Option<SystemTime>)>,
    reader: Result<Reader<Vec<u8>>, String>,
}

impl GeoDatabases {
    /// Begins to read the files that a configuration names, on a thread for such work: requests that need them wait, but for those that are
    /// read again, as they have changed. Files that only the configuration before names stay for [`REFRESH_INTERVAL`] at least, for the requests under way.
    pub(crate) fn follow(self: &Arc<Self>, snapshot: &Snapshot, tasks: &Handle) {
        self.name(&snapshot.geo_sources().flat_map(GeoSources::files).cloned().collect(), tasks);
    }

    fn name(self: &Arc<Self>, files: &BTreeSet<Arc<Path>>, tasks: &Handle) {
        if files.is_empty() && self.open.load().is_empty() {
            return;
        }
        let _changing = self.changing.lock();
        let mut open = BTreeMap::clone(&self.open.load());
        for (path, slot) in &open {
            let mut usage = slot.usage.lock();
            *usage = match *usage {
                _ if files.contains(path) => Use::Named,
                Use::Named => Use::Left,
                left => left,
            };
        }
        for path in files {
            let path = Arc::clone(path);
            let slot = Arc::clone(open.entry(Arc::clone(&path)).or_insert_with(|| Arc::new(Slot::new())));
            // A volume that hangs does not get one thread after another.
            if !slot.is_queued.swap(true, Ordering::AcqRel) {
                tasks.spawn_blocking(move || slot.read(&path));
            }
        }
        self.open.store(Arc::new(open));
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

    /// Reads the files again that have changed, and lets go of those that nobody names any more.
    fn refresh(&self) {
        if self.open.load().is_empty() {
            return;
        }
        let open = {
            let _changing = self.changing.lock();
            let mut open = BTreeMap::clone(&self.open.load());
            open.retain(|_, slot| *slot.usage.lock() != Use::Over);
            open.values().for_each(|slot| {
                let mut usage = slot.usage.lock();
                if *usage == Use::Left {
                    *usage = Use::Over;
                }
            });
            let open = Arc::new(open);
            self.open.store(Arc::clone(&open));
            open
        };
        open.iter().filter(|(_, slot)| slot.is_named()).for_each(|(path, slot)| slot.read(path));
    }

    /// Waits until the files have been read once, at most [`GEO_READ_TIMEOUT`] and until `deadline`.
    pub(crate) async fn wait_until_read(&self, sources: &GeoSources, deadline: Option<Instant>) {
        let unread: Vec<Arc<Slot>> = {
            let open = self.open.load();
            sources.files().filter_map(|path| open.get(path)).filter(|slot| !slot.is_read()).cloned().collect()
        };
        if unread.is_empty() {
            return;
        }
        let until = Instant::now() + GEO_READ_TIMEOUT;
        let until = deadline.map_or(until, |deadline| deadline.min(until));
        let read = async {
            for slot in unread {
                slot.wait_until_read().await;
            }
        };
        // No rule can be judged by a file that is not read then.
        let _ = timeout_at(until, read).await;
    }

    /// The place of an address, as far as rules look at it, its texts in lower case.
    ///
    /// # Errors
    /// Why a database cannot tell, for the operator.
    pub(crate) fn locate(&self, sources: &GeoSources, needs: GeoNeeds, client: IpAddr) -> Result<GeoLocation, String> {
        let open = self.open.load();
        let find = |file: Option<&Arc<Path>>, field: &str| {
            let path = file.ok_or_else(|| format!("the Gateway's EnvoyProxy names no database of {field}"))?;
            let database = open.get(path).and_then(|slot| slot.database.load_full());
            database.ok_or_else(|| format!("{} is not read yet", path.display()))
        };
        let mut location = GeoLocation::default();
        if needs.city {
            let city: City = find(sources.city.as_ref(), "cities")?.look_up(client)?;
            location.region = city.subdivisions.into_iter().next().and_then(|it| it.iso_code).map(lower);
            location.city = city.city.and_then(|it| it.names.en).map(lower);
        }
        if needs.country {
            let country: Country = find(sources.of_countries(), "countries")?.look_up(client)?;
            location.country = country.country.and_then(|it| it.iso_code).map(lower);
        }
        if needs.asn {
            let system: AutonomousSystem = find(sources.asn.as_ref(), "autonomous systems")?.look_up(client)?;
            location.asn = system.autonomous_system_number;
        }
        if needs.isp {
            let provider: Provider = find(sources.isp.as_ref(), "internet service providers")?.look_up(client)?;
            location.isp = provider.isp.map(lower);
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
        let is_usable = |slot: &Slot| slot.database.load().as_ref().is_some_and(|database| database.reader.is_ok());
        let open = self.open.load();
        let named = open.iter().filter(|(_, slot)| slot.is_named());
        named.map(|(path, slot)| (path.display().to_string(), is_usable(slot))).collect()
    }
}

fn lower(text: String) -> Box<str> {
    text.to_lowercase().into()
}

impl Slot {
    fn new() -> Self {
        let usage = Mutex::new(Use::Named);
        Self {
            database: ArcSwapOption::empty(),
            was_read: Notify::new(),
            reading: Mutex::default(),
            is_queued: AtomicBool::new(false),
            usage,
        }
    }

    fn is_named(&self) -> bool {
        *self.usage.lock() == Use::Named
    }

    /// Reads the file, unless it is as it was. What failed is tried again: permissions may be other ones, or there may be files to open
    /// again.
    fn read(&self, path: &Path) {
        self.read_by(path, Database::read);
    }

    fn read_by(&self, path: &Path, read: impl FnOnce(&Path, Option<&Database>) -> Database) {
        let _reading = self.reading.lock();
        // Before the file is looked at: a later change has it read again.
        self.is_queued.store(false, Ordering::Release);
        let known = self.database.load_full();
        if known.as_ref().is_some_and(|database| database.reader.is_ok() && database.version == version(path)) {
            return;
        }
        let _end = ReadEnd { slot: self, path };
        self.database.store(Some(Arc::new(read(path, known.as_deref()))));
    }

    fn is_read(&self) -> bool {
        self.database.load().is_some()
    }

    async fn wait_until_read(&self) {
        loop {
            let was_read = self.was_read.notified();
            tokio::pin!(was_read);
            // Registered before looking, so that no end of reading is missed.
            was_read.as_mut().enable();
            if self.is_read() {
                return;
            }
            was_read.await;
        }
    }
}

/// End of a read, also of one that panics: nobody waits on.
struct ReadEnd<'a> {
    slot: &'a Slot,
    path: &'a Path,
}

impl Drop for ReadEnd<'_> {
    fn drop(&mut self) {
        if !self.slot.is_read() {
            let reader = Err(format!("{}: reading it came to no end", self.path.display()));
            self.slot.database.store(Some(Arc::new(Database { version: None, reader })));
        }
        self.slot.was_read.notify_waiters();
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

fn version(path: &Path) -> Option<(u64, Option<SystemTime>)> {
    let of = |metadata: Metadata| (metadata.len(), metadata.modified().ok());
    fs::metadata(path).ok().filter(Metadata::is_file).map(of)
}

#[cfg(test)]
#[path = "../tests/proxy/support/mmdb.rs"]
#[allow(dead_code, reason = "the tests over sockets write more kinds of databases")]
mod mmdb;

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, path::PathBuf};

    use super::{
        mmdb::{Field, database},
        *,
    };

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn countries(country: &'static str, networks: u8) -> Vec<u8> {
        let record = || Field::Map(vec![("country", Field::Map(vec![("iso_code", Field::Text(country))]))]);
        let networks: Vec<_> = (10..10 + networks).map(|first| (Ipv4Addr::new(first, 0, 0, 0), 8, record())).collect();
        database("GeoLite2-Country", &networks)
    }

    /// A file that goes with the test.
    struct File(PathBuf);

    impl Drop for File {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_file_that_is_not_read_for_a_while_only() {
        let (databases, path): (_, Arc<Path>) = (GeoDatabases::default(), Path::new("/nowhere.mmdb").into());
        let slot = Arc::new(Slot::new());
        databases.open.store(Arc::new(BTreeMap::from([(Arc::clone(&path), Arc::clone(&slot))])));
        let sources = GeoSources { country: Some(Arc::clone(&path)), ..GeoSources::default() };
        let needs = GeoNeeds { country: true, ..GeoNeeds::default() };
        let of_request = Duration::from_secs(1);
        for (deadline, expected) in [(None, GEO_READ_TIMEOUT), (Some(of_request), of_request)] {
            let since = Instant::now();
            databases.wait_until_read(&sources, deadline.map(|deadline| since + deadline)).await;
            assert!(since.elapsed() >= expected && since.elapsed() < expected + of_request);
            assert!(databases.locate(&sources, needs, CLIENT.into()).is_err_and(|why| why.contains("not read yet")));
        }

        let since = Instant::now();
        let panics = || slot.read_by(&path, |_, _| panic!("a reader's mistake"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
        databases.wait_until_read(&sources, None).await;
        assert_eq!(since.elapsed(), Duration::ZERO);
        assert!(databases.locate(&sources, needs, CLIENT.into()).is_err_and(|why| why.contains("no end")));
    }

    #[tokio::test]
    async fn files_are_read_again_when_they_change_and_stay_until_requests_under_way_are_over() {
        let file = File(std::env::temp_dir().join(format!("pailou-geo-refresh-{}.mmdb", std::process::id())));
        let path: Arc<Path> = file.0.clone().into();
        let (databases, tasks) = (Arc::<GeoDatabases>::default(), Handle::current());
        let sources = GeoSources { country: Some(Arc::clone(&path)), ..GeoSources::default() };
        let needs = GeoNeeds { country: true, ..GeoNeeds::default() };
        let country = || databases.locate(&sources, needs, CLIENT.into()).map(|place| place.country.unwrap_or_default());
        fs::write(&path, countries("DE", 1)).unwrap();
        databases.name(&BTreeSet::from([Arc::clone(&path)]), &tasks);
        databases.wait_until_read(&sources, None).await;
        assert_eq!(country().as_deref(), Ok("de"));

        for (bytes, expected) in [(countries("FR", 2), Ok("fr")), (b"nothing".to_vec(), Err(())), (countries("IT", 3), Ok("it"))] {
            fs::write(&path, bytes).unwrap();
            databases.refresh();
            assert_eq!(country().as_deref().map_err(|_| ()), expected);
            assert_eq!(databases.states(), [(path.display().to_string(), expected.is_ok())]);
        }

        databases.name(&BTreeSet::new(), &tasks);
        assert!(databases.states().is_empty() && country().is_ok());
        databases.refresh();
        assert!(country().is_ok(), "a request may have begun a moment ago");
        databases.refresh();
        assert!(country().is_err() && databases.open.load().is_empty());
    }
}
