//! Leader election by a Lease (coordination.k8s.io): only its holder writes.
//!
//! The holder renews the Lease every few seconds. A holder that cannot renew it in time stops leading before another may take
//! it, by its own clock, since no two machines' clocks agree. A Lease is free once it has not changed for its whole duration by
//! the observer's clock. The Lease's `resourceVersion` decides between two replicas that take it at once.

mod lease;

use std::{sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{self, Instant},
};

use crate::metrics::Metrics;
use lease::{Attempt, LeaseClient};

/// The Lease that replicas compete for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its namespace: the controller's own.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// This replica's name: no other replica may have it.
    pub identity: String,
    /// How long the Lease holds without being renewed, in whole seconds. Leading ends after two thirds of it, and it is renewed
    /// every eighth.
    pub duration: Duration,
}

/// The duration of the Lease unless told otherwise.
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

impl Options {
    fn deadline(&self) -> Duration {
        self.duration * 2 / 3
    }

    fn period(&self) -> Duration {
        self.duration / 8
    }
}

/// A name that no other replica has: the host's with a random end.
pub fn random_identity() -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "pailou".to_owned());
    format!("{host}-{:08x}", fastrand::u32(..))
}

/// Whether this replica leads.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Instant>>);

impl Leadership {
    /// Whether this replica leads now.
    pub fn leads(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Waits until it leads. Pends for ever once the controller has stopped.
    pub async fn gained(&mut self) {
        loop {
            if self.leads() {
                return;
            }
            if self.0.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Waits until it does not lead.
    pub async fn lost(&mut self) {
        loop {
            let until = *self.0.borrow_and_update();
            let Some(until) = until.filter(|until| Instant::now() < *until) else { return };
            tokio::select! {
                changed = self.0.changed() => if changed.is_err() { return },
                () = time::sleep_until(until) => {}
            }
        }
    }
}

/// The task that competes for the Lease.
#[derive(Debug)]
pub(crate) struct Elector {
    leadership: Leadership,
    holder: watch::Receiver<String>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Elector {
    /// Begins to compete. Needs the runtime.
    pub(crate) fn start(client: Client, options: Options, metrics: Arc<Metrics>) -> Self {
        let (until, leadership) = watch::channel(None);
        let (stop, stopped) = oneshot::channel();
        let (note, holder) = watch::channel(String::new());
        let lease = LeaseClient::new(client, options.clone(), note.clone());
        let task = tokio::spawn(compete(lease, options, (until, note), stopped, metrics));
        Self { leadership: Leadership(leadership), holder, stop, task }
    }

    /// Whether this replica leads.
    pub(crate) fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// The replica that held the Lease when it was read last; empty until it is known, and where this one did and leads no longer.
    pub(crate) fn holder(&self) -> watch::Receiver<String> {
        self.holder.clone()
    }

    /// Stops leading and gives the Lease back, so that another need not wait.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn compete(
    mut lease: LeaseClient,
    options: Options,
    (until, holder): (watch::Sender<Option<Instant>>, watch::Sender<String>),
    mut stopped: oneshot::Receiver<()>,
    metrics: Arc<Metrics>,
) {
    let lease_name = format!("{}/{}", options.namespace, options.name);
    let identity = options.identity.clone();
    let mut log = LeadershipLog { lease: lease_name, leads: false, metrics, identity, holder };
    loop {
        let asked = Instant::now();
        let attempt = tokio::select! {
            attempt = log.meanwhile(&until, time::timeout(options.period() * 2, lease.attempt())) => attempt,
            _ = &mut stopped => break,
        };
        match attempt.unwrap_or(Attempt::Unknown) {
            // From the moment of asking: when it was granted is not known here.
            Attempt::Held => drop(until.send_replace(Some(asked + options.deadline()))),
            Attempt::Lost => drop(until.send_replace(None)),
            Attempt::Unknown => {}
        }
        log.report(until.borrow().is_some_and(|until| Instant::now() < until));
        let pause = options.period().mul_f64(0.9 + fastrand::f64() / 5.0);
        tokio::select! {
            () = log.meanwhile(&until, time::sleep(pause)) => {}
            _ = &mut stopped => break,
        }
    }
    let held = until.send_replace(None).is_some();
    log.report(false);
    if held && time::timeout(options.period(), lease.release()).await.is_err() {
        tracing::warn!("cannot release Lease {} in time", log.lease);
    }
}

/// The leadership as last logged and counted.
struct LeadershipLog {
    lease: String,
    leads: bool,
    metrics: Arc<Metrics>,
    identity: String,
    /// The holder that others are told of.
    holder: watch::Sender<String>,
}

impl LeadershipLog {
    /// Says whether this replica leads, if that has changed.
    fn report(&mut self, leads: bool) {
        if !leads {
            // Nobody is to ask this replica as the one that leads, nor to be sent here by itself.
            self.holder.send_if_modified(|holder| {
                let is_itself = *holder == self.identity;
                if is_itself {
                    holder.clear();
                }
                is_itself
            });
        }
        if std::mem::replace(&mut self.leads, leads) != leads {
            match leads {
                true => tracing::info!("leading: this replica holds Lease {} and writes", self.lease),
                false => tracing::info!("no longer leading: this replica does not hold Lease {} and does not write", self.lease),
            }
            self.metrics.leads(leads);
        }
    }

    /// Waits for something, and says so if the Lease runs out before it has come.
    async fn meanwhile<T>(&mut self, until: &watch::Sender<Option<Instant>>, something: impl Future<Output = T>) -> T {
        let mut something = std::pin::pin!(something);
        let end = *until.borrow();
        if let Some(end) = end.filter(|_| self.leads) {
            tokio::select! {
                biased;
                done = &mut something => return done,
                () = time::sleep_until(end) => self.report(false),
            }
        }
        something.await
    }
}
