//! A gateway without a cluster: sources, data plane and admin endpoint together.

use std::{
    future::{Future, pending},
    os::fd::AsFd as _,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use pailou_proxy::{
    Options, Proxy,
    server::{BindError, Sockets},
};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{
    admin::{
        self,
        guard::AdminGuard,
        state::{AdminState, GatewayComponent},
    },
    configuration::{Configuration, Loaded},
    exit::{self, Error},
    handover::HandoverSocket,
    report::{self, Report, Unbound},
    signals::Signals,
    source::{Stopper, Wake, Watcher},
};

/// A running gateway.
pub(crate) struct Standalone {
    proxy: Arc<Proxy>,
    admin_state: Arc<AdminState<GatewayComponent>>,
    reloading: Reloading,
}

/// The thread that follows the sources.
struct Reloading {
    stopper: Stopper,
    thread: thread::JoinHandle<()>,
}

impl Standalone {
    /// Serves the configuration and its later changes. Needs the runtime. `sockets` are those that a former process listens on
    /// as well; `move_elsewhere` is the advice for ports in use.
    pub(crate) fn start(
        configuration: Configuration,
        options: Options,
        guard: AdminGuard,
        sockets: Sockets,
        move_elsewhere: &str,
    ) -> Result<Self, Error> {
        let proxy = Proxy::start(options).map_err(|source| Error::Start { what: "the data plane", source })?;
        proxy.adopt(sockets);
        let proxy = Arc::new(proxy);
        let admin_state = Arc::new(AdminState::new(GatewayComponent::new(proxy.clone())).guarded(guard));
        let watcher = Watcher::new();
        let stopper = watcher.stopper();
        let mut follower = Follower {
            configuration,
            watcher,
            proxy: proxy.clone(),
            admin_state: admin_state.clone(),
            report: Report::default(),
            loaded: None,
            unbound: Vec::new(),
        };
        let unbound = follower.reload();
        if !unbound.is_empty() {
            return Err(Error::Several(unbound.into_iter().map(|error| bind_error(error, &follower, move_elsewhere)).collect()));
        }
        let thread = thread::Builder::new()
            .name("config".to_owned())
            .spawn(move || follower.follow())
            .map_err(|source| Error::Start { what: "a thread", source })?;
        Ok(Self { proxy, admin_state, reloading: Reloading { stopper, thread } })
    }

    /// Serves until a signal or a successor comes, then finishes what is under way, for at most `drain`. A signal after that cuts it
    /// off.
    pub(crate) async fn run(self, admin: Option<TcpListener>, signals: Signals, handover: Option<HandoverSocket>, drain: Duration) {
        let spare = admin.as_ref().and_then(|listener| listener.as_fd().try_clone_to_owned().ok()).map(Into::into);
        let admin = admin.map(|listener| tokio::spawn(admin::serve(listener, self.admin_state.clone())));
        let end_admin = || admin.iter().for_each(JoinHandle::abort);
        let successor = successor(handover, &self.proxy, spare);
        until_drained(&self.proxy, &self.admin_state, signals, successor, drain, |end| {
            if end == End::Succeeded {
                // The successor answers for itself.
                end_admin();
            }
            self.reloading.stopper.stop();
        })
        .await;
        end_admin();
        if self.reloading.thread.join().is_err() {
            tracing::error!("the thread that follows the files panicked");
        }
    }
}

/// Ready when another process serves on these sockets; never, where none can come.
async fn successor(handover: Option<HandoverSocket>, proxy: &Arc<Proxy>, admin: Option<std::net::TcpListener>) {
    match handover {
        Some(mut handover) => handover.successor(proxy, admin.as_ref()).await,
        None => pending().await,
    }
}

/// Why a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A signal came.
    Signal,
    /// Another serves in its place.
    Succeeded,
}

/// Waits for a signal or a successor, calls `stop`, and finishes what is under way, for at most `drain`. A signal after that cuts it off.
pub(crate) async fn until_drained(
    proxy: &Proxy,
    admin_state: &AdminState<GatewayComponent>,
    mut signals: Signals,
    successor: impl Future<Output = ()>,
    drain: Duration,
    stop: impl FnOnce(End),
) {
    let (end, why) = tokio::select! {
        signal = signals.next() => (End::Signal, signal),
        () = successor => (End::Succeeded, "another process serves in this one's place"),
    };
    tracing::info!("{why}: finishing requests for at most {} s; a further signal ends at once", drain.as_secs());
    admin_state.drain();
    stop(end);
    tokio::select! {
        left = proxy.drain(drain) => match left {
            0 => tracing::info!("every request is finished"),
            _ => tracing::warn!("{left} connections were cut off"),
        },
        signal = signals.next() => {
            tracing::warn!("{signal}: ending at once");
            proxy.drain(Duration::ZERO).await;
        }
    }
}

/// State of the thread that follows the sources. It also compiles, away from the threads that serve.
struct Follower {
    configuration: Configuration,
    watcher: Watcher,
    proxy: Arc<Proxy>,
    admin_state: Arc<AdminState<GatewayComponent>>,
    report: Report,
    loaded: Option<Loaded>,
    unbound: Vec<Unbound>,
}

impl Follower {
    fn follow(mut self) {
        let mut was_silent = false;
        loop {
            let is_silent = self.report.is_silent();
            if is_silent && !was_silent {
                tracing::warn!("no listener, so nothing to serve; waiting for the files to change");
            }
            was_silent = is_silent;
            if self.watcher.wait() == Wake::Stopped {
                return;
            }
            self.reload();
        }
    }

    /// Brings the data plane up to date. Gives back the sockets that could not be bound.
    fn reload(&mut self) -> Vec<BindError> {
        let start = Instant::now();
        let mut loaded = self.configuration.load(self.loaded.as_ref());
        if self.watcher.watch(loaded.interest.clone()) {
            // Something may have changed between the reading and the watching.
            loaded = self.configuration.load(Some(&loaded));
        }
        let is_same = self.loaded.as_ref().is_some_and(|before| Arc::ptr_eq(&before.objects, &loaded.objects));
        let mut errors = Vec::new();
        // A port that was in use may be free by now.
        if !is_same || !self.unbound.is_empty() {
            errors = self.proxy.apply(&loaded.snapshot, &loaded.endpoints);
            let purposes = report::listeners(&loaded.snapshot);
            let unbound = |error: &BindError| Unbound {
                port: error.port,
                purpose: purposes.get(&error.port).cloned().unwrap_or_default(),
                reason: exit::reason(&error.error),
            };
            self.unbound = errors.iter().map(unbound).collect();
        }
        self.report.update(&loaded.snapshot, &loaded.statuses, &loaded.problems, &self.unbound);
        if !is_same {
            tracing::info!("applied {} objects in {:.1} ms", loaded.objects.len(), start.elapsed().as_secs_f64() * 1e3);
        }
        self.admin_state.component().configure(loaded.statuses.clone(), loaded.problems.clone());
        self.loaded = Some(loaded);
        errors
    }
}

fn bind_error(error: BindError, follower: &Follower, hint: &str) -> Error {
    let unbound = follower.unbound.iter().find(|unbound| unbound.port == error.port);
    let purpose = unbound.map(|unbound| unbound.purpose.clone()).unwrap_or_default();
    Error::Bind { port: error.port, purpose, source: error.error, hint: hint.to_owned() }
}
