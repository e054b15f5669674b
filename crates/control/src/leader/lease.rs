//! One replica's dealings with the Lease.

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::watch, time::Instant};

use super::Options;
use crate::FIELD_MANAGER;

/// Result of one attempt to take or renew the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is ours, for its duration from the moment of asking.
    Held,
    /// It is another's.
    Lost,
    /// The API server did not say.
    Unknown,
}

/// The Lease, and how long it has been as it is.
pub(super) struct LeaseClient {
    api: Api<Lease>,
    options: Options,
    /// The Lease's version as last seen, and since when.
    seen: Option<(String, Instant)>,
    /// The Lease as it was written last, where that went well.
    held: Option<Lease>,
    is_failing: bool,
    /// The holder as last seen; empty where there is none.
    holder: watch::Sender<String>,
}

impl LeaseClient {
    pub(super) fn new(client: Client, options: Options, holder: watch::Sender<String>) -> Self {
        Self { api: Api::namespaced(client, &options.namespace), options, seen: None, held: None, is_failing: false, holder }
    }

    /// Takes the Lease or renews it, if it is not another's.
    pub(super) async fn attempt(&mut self) -> Attempt {
        let result = self.try_attempt().await;
        match result {
            Ok(attempt) => {
                self.is_failing = false;
                if attempt == Attempt::Held {
                    self.note_holder(&self.options.identity);
                }
                attempt
            }
            // Someone else was faster: who has it now will be seen the next time.
            Err(kube::Error::Api(status)) if status.code == 409 => Attempt::Unknown,
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    let options = &self.options;
                    tracing::warn!(%error, "cannot take Lease {}/{}, retrying", options.namespace, options.name);
                }
                Attempt::Unknown
            }
        }
    }

    fn note_holder(&self, holder: &str) {
        self.holder.send_if_modified(|noted| {
            let is_other = *noted != holder;
            if is_other {
                holder.clone_into(noted);
            }
            is_other
        });
    }

    async fn try_attempt(&mut self) -> Result<Attempt, kube::Error> {
        // The holder need not read it first: the API server compares its version and so detects another's write.
        if let Some(lease) = self.held.take() {
            match self.write(lease).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                attempt => return attempt,
            }
        }
        let Some(lease) = self.api.get_opt(&self.options.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.options.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(None)),
            };
            self.held = Some(self.api.create(&params(), &lease).await?);
            return Ok(Attempt::Held);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        match self.is_free(&spec, lease.resource_version()) {
            true => self.write(lease).await,
            false => {
                self.note_holder(spec.holder_identity.as_deref().unwrap_or_default());
                Ok(Attempt::Lost)
            }
        }
    }

    /// Takes or renews a Lease that is as it is here.
    async fn write(&mut self, mut lease: Lease) -> Result<Attempt, kube::Error> {
        lease.spec = Some(self.spec(Some(lease.spec.take().unwrap_or_default())));
        self.held = Some(self.api.replace(&self.options.name, &params(), &lease).await?);
        Ok(Attempt::Held)
    }

    /// Whether the Lease is ours, nobody's, or its holder's no more.
    fn is_free(&mut self, spec: &LeaseSpec, version: Option<String>) -> bool {
        let version = version.unwrap_or_default();
        let now = Instant::now();
        let since = match &self.seen {
            Some((seen, since)) if *seen == version => *since,
            _ => now,
        };
        self.seen = Some((version, since));
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let duration = u64::try_from(spec.lease_duration_seconds.unwrap_or_default()).unwrap_or_default();
        holder.is_empty() || holder == self.options.identity || now.duration_since(since).as_secs() >= duration
    }

    fn spec(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let is_new = before.is_none();
        let before = before.unwrap_or_default();
        let now = MicroTime(Timestamp::now());
        let is_ours = before.holder_identity.as_deref() == Some(&self.options.identity);
        LeaseSpec {
            holder_identity: Some(self.options.identity.clone()),
            lease_duration_seconds: i32::try_from(self.options.duration.as_secs()).ok(),
            acquire_time: if is_ours { before.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(before.lease_transitions.unwrap_or_default().saturating_add(i32::from(!is_ours && !is_new))),
            ..LeaseSpec::default()
        }
    }

    /// Gives the Lease back if it is ours.
    pub(super) async fn release(&mut self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.options.name).await else { return };
        let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(&self.options.identity)) else {
            return;
        };
        spec.holder_identity = None;
        spec.renew_time = Some(MicroTime(Timestamp::now()));
        if let Err(error) = self.api.replace(&self.options.name, &params(), &lease).await {
            tracing::warn!(%error, "cannot release Lease {}/{}", self.options.namespace, self.options.name);
        }
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
