//! Names to addresses: by the user's overrides, the hosts file, then DNS; kept for as long as the answer says.

mod cache;
mod overrides;

pub use overrides::{OverrideError, Overrides};

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_resolver::{TokioResolver, net::NetError};
use pailou_snapshot::{DnsFamily, DnsSettings};
use tokio::runtime::Handle;

use self::cache::{Cache, CacheLookup};

/// Why a name has no address.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// DNS says that the name does not exist, or has no address.
    #[error("{0} has no address")]
    NoAddress(Arc<str>),
    /// DNS gave no answer.
    #[error("{host} cannot be resolved: {source}")]
    Failed {
        /// The name.
        host: Arc<str>,
        /// The answer that came instead.
        source: NetError,
    },
}

/// The process's resolver. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct Dns(Arc<Inner>);

/// Addresses and the end of their validity.
type Answer = Result<(Vec<IpAddr>, Instant), ResolveError>;
type Lookup = Box<dyn Fn(Arc<str>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

struct Inner {
    overrides: Overrides,
    cache: Cache,
    /// Lookups run here, so that none is lost with the request that started it.
    tasks: Handle,
    lookup: Lookup,
    turn: AtomicUsize,
}

impl Dns {
    /// A resolver by the system's configuration, which is read when the first name is looked up. Lookups run on `tasks`.
    pub fn new(tasks: Handle, overrides: Overrides) -> Self {
        let resolver: Arc<OnceLock<Result<TokioResolver, NetError>>> = Arc::default();
        Self::with_lookup(tasks, overrides, Box::new(move |host| Box::pin(look_up(Arc::clone(&resolver), host))))
    }

    fn with_lookup(tasks: Handle, overrides: Overrides, lookup: Lookup) -> Self {
        Self(Arc::new(Inner { overrides, cache: Cache::default(), tasks, lookup, turn: AtomicUsize::new(0) }))
    }

    /// The addresses of a name, in the order in which they are to be tried: families in turn, the first one another each time.
    /// A name that was known is answered at once and looked up again in the background when its time is over.
    ///
    /// # Errors
    /// The name has no address, or cannot be looked up.
    pub async fn resolve(&self, host: &str, port: u16, settings: DnsSettings) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Some(addresses) = self.0.overrides.find(host, port) {
            return Ok(addresses.to_vec());
        }
        let addresses: Arc<[IpAddr]> = match literal(host) {
            Some(addresses) => addresses,
            None => self.look_up(host, settings.refresh).await?,
        };
        let addresses = of_family(addresses, settings.family);
        if addresses.is_empty() {
            return Err(ResolveError::NoAddress(host.into()));
        }
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        Ok(in_order(&addresses, turn).map(|address| SocketAddr::new(address, port)).collect())
    }

    /// Whether a connection that was made for a name may still be used: its address is among the last ones found.
    pub(crate) fn still_holds(&self, host: &str, port: u16, settings: DnsSettings, remote: SocketAddr) -> bool {
        if let Some(addresses) = self.0.overrides.find(host, port) {
            return addresses.contains(&remote);
        }
        match literal(host) {
            Some(_) => true,
            None => match self.0.cache.find(host, settings.refresh) {
                CacheLookup::Fresh(answer) | CacheLookup::WaitFor(_, Some(answer)) => {
                    answer.is_ok_and(|known| known.contains(&remote.ip()))
                }
                CacheLookup::Stale(known) => {
                    self.start(host);
                    known.contains(&remote.ip())
                }
                CacheLookup::Absent | CacheLookup::WaitFor(_, None) => false,
            },
        }
    }

    /// Forgets names that nobody's endpoints have any more.
    pub(crate) fn forget(&self, is_gone: impl Fn(&str) -> bool) {
        self.0.cache.forget(is_gone);
    }

    /// How many names have known addresses that DNS gave no answer to renew.
    pub(crate) fn unrenewed(&self) -> usize {
        self.0.cache.unrenewed()
    }

    async fn look_up(&self, host: &str, refresh: Option<Duration>) -> Result<Arc<[IpAddr]>, ResolveError> {
        loop {
            match self.0.cache.find(host, refresh) {
                CacheLookup::Fresh(answer) => return answer,
                CacheLookup::Stale(addresses) => {
                    self.start(host);
                    return Ok(addresses);
                }
                CacheLookup::Absent => self.start(host),
                CacheLookup::WaitFor(done, _) => {
                    let notified = done.notified();
                    tokio::pin!(notified);
                    // Registered before looking again, so that an answer in between is not missed.
                    notified.as_mut().enable();
                    if matches!(self.0.cache.find(host, refresh), CacheLookup::WaitFor(same, _) if Arc::ptr_eq(&same, &done)) {
                        notified.await;
                    }
                }
            }
        }
    }

    /// Starts a lookup unless one is under way.
    fn start(&self, host: &str) {
        let Some(host) = self.0.cache.begin(host) else { return };
        let inner = Arc::clone(&self.0);
        self.0.tasks.spawn(async move {
            let answer = (inner.lookup)(Arc::clone(&host)).await;
            inner.cache.complete(&host, answer);
        });
    }
}

/// Names that need no lookup: addresses, and `localhost` (RFC 6761 section 6.3).
fn literal(host: &str) -> Option<Arc<[IpAddr]>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Some(Arc::from([address]));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_localhost = name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost");
    is_localhost.then(|| Arc::from([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]))
}

/// The addresses of the families wanted.
fn of_family(addresses: Arc<[IpAddr]>, family: DnsFamily) -> Arc<[IpAddr]> {
    let of = |is_v4: bool| -> Arc<[IpAddr]> { addresses.iter().filter(|address| address.is_ipv4() == is_v4).copied().collect() };
    let or = |first: bool| Some(of(first)).filter(|found| !found.is_empty()).unwrap_or_else(|| of(!first));
    match family {
        DnsFamily::Both => addresses,
        DnsFamily::V4 => of(true),
        DnsFamily::V6 => of(false),
        DnsFamily::PreferV4 => or(true),
        DnsFamily::PreferV6 => or(false),
    }
}

/// Families in turn (RFC 8305 section 4), each started at another of its addresses.
fn in_order(addresses: &[IpAddr], turn: usize) -> impl Iterator<Item = IpAddr> {
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == addresses[0].is_ipv6());
    let rotated = move |family: Vec<IpAddr>| {
        let start = if family.is_empty() { 0 } else { turn % family.len() };
        let length = family.len();
        family.into_iter().cycle().skip(start).take(length)
    };
    let (mut first, mut second) = (rotated(first), rotated(second));
    let mut take_first = false;
    std::iter::from_fn(move || {
        take_first = !take_first;
        if take_first { first.next().or_else(|| second.next()) } else { second.next().or_else(|| first.next()) }
    })
}

async fn look_up(resolver: Arc<OnceLock<Result<TokioResolver, NetError>>>, host: Arc<str>) -> Answer {
    let failed = |source| ResolveError::Failed { host: Arc::clone(&host), source };
    let resolver = resolver.get_or_init(|| {
        let mut builder = TokioResolver::builder_tokio()?;
        // Answers are kept here, where they can be used beyond their time while they are renewed.
        builder.options_mut().cache_size = 0;
        builder.options_mut().ip_strategy = hickory_resolver::config::LookupIpStrategy::Ipv4AndIpv6;
        builder.build()
    });
    let resolver = resolver.as_ref().map_err(|error| failed(error.clone()))?;
    match resolver.lookup_ip(&*host).await {
        Ok(answer) => Ok((answer.iter().collect(), answer.valid_until())),
        Err(error) if error.is_nx_domain() || error.is_no_records_found() => Err(ResolveError::NoAddress(Arc::clone(&host))),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests;
