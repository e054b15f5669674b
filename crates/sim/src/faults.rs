//! Failures on demand: rules that requests run into, set by configuration, over HTTP or through a handle.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Rules held at the same time.
const MAX_RULES: usize = 64;

/// A rule: what goes wrong, and for which requests.
///
/// In JSON it is flat: `{"kind": "status", "status": 503, "times": 2, "path": "/v1/chat"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "FaultSpec", into = "FaultSpec")]
pub struct Fault {
    /// The fault.
    pub kind: FaultKind,
    /// Share of matching requests that it befalls, 0 to 1.
    pub fraction: f64,
    /// How many requests it befalls before it is spent; for ever when absent.
    pub times: Option<u32>,
    /// Prefix of the paths it applies to. When absent, all but `/health`, `/metrics` and `/sim`.
    pub path: Option<String>,
}

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// Read the request, then answer this status with an error body.
    Status(u16),
    /// Answer this status (429, 413, …) without reading the request's body.
    EarlyStatus(u16),
    /// Reset the TCP connection: before the response's head, or after so many chunks of its body.
    Reset(Option<u32>),
    /// Say nothing more and keep the connection open: before the head, or after so many chunks.
    Stall(Option<u32>),
    /// Close the connection in an orderly way after so many chunks; 0 is right after the head.
    Close(u32),
    /// Send bytes that are not HTTP, a few at a time.
    Garbage,
    /// Wait before doing anything with the request.
    Delay(Duration),
    /// Read the request's body at this many bytes a second.
    SlowRead(u32),
    /// End the event stream properly but without its last event (`[DONE]`).
    NoDone,
    /// Refuse new connections for as long as the rule exists; `fraction`, `times` and `path` mean nothing here.
    Refuse,
}

impl From<FaultKind> for Fault {
    /// The fault for every request, for ever.
    fn from(kind: FaultKind) -> Self {
        Fault { kind, fraction: 1.0, times: None, path: None }
    }
}

impl Fault {
    /// The fault for every request, for ever.
    pub fn new(kind: FaultKind) -> Self {
        kind.into()
    }

    /// Only for the next `times` requests.
    pub fn times(self, times: u32) -> Self {
        Fault { times: Some(times), ..self }
    }

    /// Only for this share of requests.
    pub fn fraction(self, fraction: f64) -> Self {
        Fault { fraction, ..self }
    }

    /// Only for paths that begin with `path`.
    pub fn path(self, path: impl Into<String>) -> Self {
        Fault { path: Some(path.into()), ..self }
    }

    fn matches(&self, path: &str) -> bool {
        match &self.path {
            Some(prefix) => path.starts_with(prefix.as_str()),
            None => path != "/health" && path != "/metrics",
        }
    }
}

/// A server's rules, shared with it: a change holds from the next request on.
#[derive(Clone, Debug)]
pub struct Faults {
    rules: Arc<Mutex<Rules>>,
    refusing: Arc<watch::Sender<bool>>,
}

#[derive(Debug)]
struct Rules {
    list: Vec<Fault>,
    dice: fastrand::Rng,
}

impl Faults {
    pub(crate) fn new(initial: Vec<Fault>, seed: u64) -> Self {
        let rules = Rules { list: Vec::new(), dice: fastrand::Rng::with_seed(seed) };
        let faults = Faults { rules: Arc::new(Mutex::new(rules)), refusing: Arc::new(watch::Sender::new(false)) };
        faults.set(initial);
        faults
    }

    /// Replaces all rules. At most 64 are kept.
    pub fn set(&self, faults: impl IntoIterator<Item = Fault>) {
        let list: Vec<_> = faults.into_iter().take(MAX_RULES).collect();
        self.rules.lock().list = list;
        self.settle_refusal();
    }

    /// Adds a rule behind the others, which take precedence. False when there are 64 already.
    pub fn add(&self, fault: impl Into<Fault>) -> bool {
        let added = {
            let mut rules = self.rules.lock();
            let room = rules.list.len() < MAX_RULES;
            if room {
                rules.list.push(fault.into());
            }
            room
        };
        self.settle_refusal();
        added
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.set([]);
    }

    /// The rules that are not spent.
    pub fn list(&self) -> Vec<Fault> {
        self.rules.lock().list.clone()
    }

    /// Whether new connections are refused, and word of when that changes.
    pub(crate) fn refusing(&self) -> watch::Receiver<bool> {
        self.refusing.subscribe()
    }

    /// The fault that befalls the next request to `path`.
    pub(crate) fn strike(&self, path: &str) -> Option<FaultKind> {
        let mut rules = self.rules.lock();
        if rules.list.is_empty() {
            return None;
        }
        let Rules { list, dice } = &mut *rules;
        let index = list.iter().position(|fault| {
            fault.kind != FaultKind::Refuse
                && fault.times != Some(0)
                && fault.matches(path)
                && (fault.fraction >= 1.0 || dice.f64() < fault.fraction)
        })?;
        let kind = list[index].kind;
        if let Some(left) = &mut list[index].times {
            *left -= 1;
            if *left == 0 {
                list.remove(index);
            }
        }
        Some(kind)
    }

    fn settle_refusal(&self) {
        let refuse = self.rules.lock().list.iter().any(|fault| fault.kind == FaultKind::Refuse);
        self.refusing.send_if_modified(|now| std::mem::replace(now, refuse) != refuse);
    }
}

/// A [`Fault`] as JSON has it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultSpec {
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_chunks: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_second: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fraction: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Status,
    EarlyStatus,
    Reset,
    Stall,
    Close,
    Garbage,
    Delay,
    SlowRead,
    NoDone,
    Refuse,
}

/// Error in a fault's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FaultError {
    #[error("a fault of this kind needs `{0}`")]
    Missing(&'static str),
    #[error("`status` must be 400 to 599")]
    Status,
    #[error("`fraction` must be 0 to 1")]
    Fraction,
}

impl TryFrom<FaultSpec> for Fault {
    type Error = FaultError;

    fn try_from(spec: FaultSpec) -> Result<Self, FaultError> {
        let status = || match spec.status {
            Some(status @ 400..=599) => Ok(status),
            Some(_) => Err(FaultError::Status),
            None => Err(FaultError::Missing("status")),
        };
        let kind = match spec.kind {
            Kind::Status => FaultKind::Status(status()?),
            Kind::EarlyStatus => FaultKind::EarlyStatus(status()?),
            Kind::Reset => FaultKind::Reset(spec.after_chunks),
            Kind::Stall => FaultKind::Stall(spec.after_chunks),
            Kind::Close => FaultKind::Close(spec.after_chunks.unwrap_or(0)),
            Kind::Garbage => FaultKind::Garbage,
            Kind::Delay => FaultKind::Delay(Duration::from_millis(spec.delay_ms.ok_or(FaultError::Missing("delay_ms"))?)),
            Kind::SlowRead => {
                let rate = spec.bytes_per_second.filter(|rate| *rate > 0);
                FaultKind::SlowRead(rate.ok_or(FaultError::Missing("bytes_per_second"))?)
            }
            Kind::NoDone => FaultKind::NoDone,
            Kind::Refuse => FaultKind::Refuse,
        };
        let fraction = spec.fraction.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&fraction) {
            return Err(FaultError::Fraction);
        }
        Ok(Fault { kind, fraction, times: spec.times, path: spec.path })
    }
}

impl From<Fault> for FaultSpec {
    fn from(fault: Fault) -> Self {
        let mut spec = FaultSpec {
            fraction: Some(fault.fraction).filter(|fraction| *fraction < 1.0),
            times: fault.times,
            path: fault.path,
            ..FaultSpec::default()
        };
        match fault.kind {
            FaultKind::Status(status) => (spec.kind, spec.status) = (Kind::Status, Some(status)),
            FaultKind::EarlyStatus(status) => (spec.kind, spec.status) = (Kind::EarlyStatus, Some(status)),
            FaultKind::Reset(chunks) => (spec.kind, spec.after_chunks) = (Kind::Reset, chunks),
            FaultKind::Stall(chunks) => (spec.kind, spec.after_chunks) = (Kind::Stall, chunks),
            FaultKind::Close(chunks) => (spec.kind, spec.after_chunks) = (Kind::Close, Some(chunks)),
            FaultKind::Garbage => spec.kind = Kind::Garbage,
            FaultKind::Delay(delay) => {
                (spec.kind, spec.delay_ms) = (Kind::Delay, Some(delay.as_millis() as u64));
            }
            FaultKind::SlowRead(rate) => (spec.kind, spec.bytes_per_second) = (Kind::SlowRead, Some(rate)),
            FaultKind::NoDone => spec.kind = Kind::NoDone,
            FaultKind::Refuse => spec.kind = Kind::Refuse,
        }
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_with_times_is_spent_after_so_many_requests() {
        let faults = Faults::new(vec![Fault::new(FaultKind::Status(503)).times(2)], 0);
        let struck: Vec<_> = (0..4).map(|_| faults.strike("/v1/models").is_some()).collect();
        assert_eq!(struck, [true, true, false, false]);
        assert!(faults.list().is_empty());
    }

    #[test]
    fn a_fraction_befalls_about_that_share() {
        let faults = Faults::new(vec![Fault::new(FaultKind::Status(503)).fraction(0.25)], 1);
        let struck = (0..4000).filter(|_| faults.strike("/v1/models").is_some()).count();
        assert!((850..1150).contains(&struck), "{struck} of 4000");
    }

    #[test]
    fn health_and_metrics_are_spared_unless_named() {
        let faults = Faults::new(vec![FaultKind::Garbage.into()], 0);
        assert_eq!(faults.strike("/metrics"), None);
        faults.set([Fault::new(FaultKind::Stall(None)).path("/metrics")]);
        assert_eq!(faults.strike("/metrics"), Some(FaultKind::Stall(None)));
        assert_eq!(faults.strike("/v1/models"), None);
    }

    #[test]
    fn json_is_the_same_fault_there_and_back() {
        let kinds = [
            FaultKind::Status(500),
            FaultKind::EarlyStatus(429),
            FaultKind::Reset(None),
            FaultKind::Reset(Some(3)),
            FaultKind::Stall(Some(0)),
            FaultKind::Close(2),
            FaultKind::Garbage,
            FaultKind::Delay(Duration::from_millis(5)),
            FaultKind::SlowRead(10),
            FaultKind::NoDone,
            FaultKind::Refuse,
        ];
        for kind in kinds {
            let fault = Fault::new(kind).times(3).fraction(0.5).path("/v1");
            let json = serde_json::to_string(&fault).unwrap();
            assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault, "{json}");
        }
    }

    #[test]
    fn incomplete_or_unknown_faults_are_refused() {
        for json in [
            r#"{"kind": "status"}"#,
            r#"{"kind": "status", "status": 200}"#,
            r#"{"kind": "explode"}"#,
            r#"{"kind": "reset", "fracton": 0.5}"#,
            r#"{"kind": "reset", "fraction": 1.5}"#,
            r#"{"kind": "slow_read", "bytes_per_second": 0}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(json).is_err(), "{json}");
        }
    }
}
