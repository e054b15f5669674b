//! `pailou proxy`: a data plane of a cluster. It serves one Gateway, of which it hears from a controller's feed, and goes on serving
//! what it heard last while the controller is away.

use std::{
    collections::BTreeMap,
    future::pending,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use pailou_compile::{Compiled, Compiler, DataPlane, SessionKeySource, Settings, status::GatewayAddress, store::Store};
use pailou_control::feed::{
    admin_token::AdminVerifier,
    client::{self, Batch},
};
use pailou_proxy::{Options, Proxy, local_addresses::LocalAddresses, server::BindError};
use pailou_snapshot::{Name, Snapshot};
use tokio::sync::mpsc;

use crate::{
    admin::{
        self,
        state::{AdminState, GatewayComponent, process_name},
    },
    cli::ProxyArgs,
    exit::{Error, ExitOutcome, reason},
    report::{self, Report, Unbound},
    runtime, serve,
    signals::Signals,
    standalone::until_drained,
};

/// Serves until a signal comes.
pub(crate) fn run(args: &ProxyArgs) -> Result<ExitOutcome, Error> {
    let (options, log_file) = serve::serving(&args.serving)?;
    // In a cluster others than its operator write policies and Backends.
    let local = |is_allowed| if is_allowed { LocalAddresses::Allowed } else { LocalAddresses::Refused };
    let (local_addresses, local_backends) = (local(args.allow_local_identity_providers), local(args.allow_local_backends));
    let options = Options { local_addresses, local_backends, ..options };
    let guard = serve::serving_guard(&args.serving)?;
    // A Backend can lead any client to the admin endpoint then.
    let guard = if args.allow_local_backends { guard.trusting_nobody() } else { guard };
    // Proxies are in their Gateway's namespace.
    let pod = Name::new(&args.gateway.namespace, &process_name());
    let controller = AdminVerifier::new(args.gateway.clone(), pod, args.feed_ca.clone());
    let guard = guard.admitting_controller(move |token| controller.is_valid(token, SystemTime::now()));
    runtime::raise_descriptors();
    runtime::one_thread()?.block_on(async {
        let signals = Signals::new(log_file)?;
        let listener = match args.admin.0 {
            Some(address) => Some(admin::bind(address).await?),
            None => None,
        };
        let proxy = Arc::new(Proxy::start(options).map_err(|source| Error::Start { what: "the data plane", source })?);
        let admin_state = Arc::new(AdminState::new(GatewayComponent::new(proxy.clone())).guarded(guard));
        if let Some(listener) = listener {
            tokio::spawn(admin::serve(listener, admin_state.clone()));
        }
        tracing::info!("serving Gateway {} from the feed {}", args.gateway, args.feed);
        let feed = client::Options { url: args.feed.clone(), authorities: args.feed_ca.clone(), token: args.feed_token.clone() };
        let (send, batches) = mpsc::channel(1);
        let source = tokio::spawn(client::follow(feed, send));
        let settings = settings(args);
        let follower = Follower {
            compiler: Compiler::new(settings.clone()),
            settings,
            store: Store::new(),
            proxy: proxy.clone(),
            admin_state: admin_state.clone(),
            report: Report::default(),
        };
        let thread = thread::Builder::new().name("compile".to_owned());
        thread.spawn(|| follower.follow(batches)).map_err(|source| Error::Start { what: "the compiler", source })?;
        // A cluster replaces pods by others.
        let successor = pending();
        until_drained(&proxy, &admin_state, signals, successor, Duration::from_secs(args.serving.drain.into()), |_| source.abort())
            .await;
        Ok(ExitOutcome::Done)
    })
}

fn settings(args: &ProxyArgs) -> Settings {
    let addresses = addresses();
    // The controller knows and reports the addresses that clients use.
    let reached = addresses.iter().map(|ip| GatewayAddress::ip(*ip)).collect();
    let itself = DataPlane { addresses: reached, ready: true, ..DataPlane::default() };
    let data_planes = Some(BTreeMap::from([(args.gateway.clone(), itself)]));
    let session_key = SessionKeySource { namespace: Some(args.controller_namespace.clone().unwrap_or_default()), fallback: None };
    Settings { controllers: args.controllers.clone(), addresses, data_planes, session_key, ..Settings::cluster() }
}

/// Every address of the pod, of the families that it has.
fn addresses() -> Vec<IpAddr> {
    let all = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    all.into_iter().filter(|address| TcpListener::bind((*address, 0)).is_ok()).collect()
}

/// Applies the feed's batches.
struct Follower {
    settings: Settings,
    compiler: Compiler,
    store: Store,
    proxy: Arc<Proxy>,
    admin_state: Arc<AdminState<GatewayComponent>>,
    report: Report,
}

impl Follower {
    /// Takes batches in until there are no more, on the calling thread: what one compilation leaves behind, the next one reuses.
    fn follow(mut self, mut batches: mpsc::Receiver<Batch>) {
        while let Some(batch) = batches.blocking_recv() {
            let start = Instant::now();
            batch.apply(&mut self.store);
            // Batches that have come meanwhile join this one.
            while let Ok(batch) = batches.try_recv() {
                batch.apply(&mut self.store);
            }
            let served = catch_unwind(AssertUnwindSafe(|| self.serve(start)));
            if served.is_err() {
                tracing::error!("cannot serve the feed's last changes; serving the configuration before them");
                self.compiler = Compiler::new(self.settings.clone());
            }
        }
    }

    fn serve(&mut self, start: Instant) {
        let Compiled { snapshot, endpoints, statuses } = self.compiler.update(&self.store);
        let errors = self.proxy.apply(&snapshot, &endpoints);
        tracing::debug!("applied {} objects in {:.1} ms", self.store.len(), start.elapsed().as_secs_f64() * 1e3);
        let unbound: Vec<_> = errors.iter().map(|error| unbound(error, &snapshot)).collect();
        self.report.update(&snapshot, &statuses, &[], &unbound);
        self.admin_state.component().configure(statuses, Arc::default());
    }
}

fn unbound(error: &BindError, snapshot: &Snapshot) -> Unbound {
    let purpose = report::listeners(snapshot).remove(&error.port).unwrap_or_default();
    Unbound { port: error.port, purpose, reason: reason(&error.error) }
}
