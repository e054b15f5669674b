//! Gateways whose provisioning failed: time of the next attempt, and the API server's refusal.

use std::{collections::BTreeMap, time::Duration};

use pailou_snapshot::Name;
use tokio::time::Instant;

use crate::backoff::Backoff;

/// Delays between two attempts for one Gateway.
const FIRST: Duration = Duration::from_millis(200);
const LAST: Duration = Duration::from_secs(20);
/// The most that is kept of what an API server says, in characters.
const MAX_REFUSAL: usize = 1024;

/// Failures by Gateway: one that cannot be served holds up no other.
#[derive(Debug, Default)]
pub(super) struct Failures(BTreeMap<Name, Failure>);

#[derive(Debug)]
struct Failure {
    /// Digest of the desired objects.
    desired: u64,
    backoff: Backoff,
    /// When it is tried again.
    at: Instant,
    /// The last error, for the log.
    text: String,
    refused: Option<Refusal>,
}

/// The API server's refusal of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The object, and the server's words.
    pub(super) text: String,
    /// Whether a permission is missing, or admission forbids it (403).
    pub(super) is_forbidden: bool,
}

impl Failures {
    /// Whether a Gateway's objects may be tried: they did not fail, or not lately, or they are others by now.
    pub(super) fn is_due(&self, gateway: &Name, desired: u64, now: Instant) -> bool {
        self.0.get(gateway).is_none_or(|failure| failure.desired != desired || failure.at <= now)
    }

    /// Whether the API server refused an object of a Gateway at the last attempt.
    pub(super) fn is_refused(&self, gateway: &Name) -> bool {
        self.0.get(gateway).is_some_and(|failure| failure.refused.is_some())
    }

    /// Takes down that an object of a Gateway could not be applied. The same words are logged once.
    pub(super) fn failed(&mut self, gateway: Name, desired: u64, object: &str, error: &kube::Error, now: Instant) {
        let text = format!("{object}: {}", error_text(error));
        let is_forbidden = matches!(error, kube::Error::Api(status) if status.code == 403);
        let refused = is_refusal(error).then(|| Refusal { text: text.chars().take(MAX_REFUSAL).collect(), is_forbidden });
        let failure = self.0.entry(gateway).or_insert_with(|| Failure {
            desired,
            backoff: Backoff::new(FIRST, LAST),
            at: now,
            text: String::new(),
            refused: None,
        });
        if failure.desired != desired {
            failure.backoff.reset();
        }
        if failure.text != text {
            tracing::warn!("cannot provision {text}");
        }
        *failure = Failure { desired, at: now + failure.backoff.failed(), text, refused, backoff: failure.backoff.clone() };
    }

    /// Forgets what failed for a Gateway.
    pub(super) fn went_well(&mut self, gateway: &Name) {
        self.0.remove(gateway);
    }

    /// Forgets all Gateways but these.
    pub(super) fn retain(&mut self, is_planned: impl Fn(&Name) -> bool) {
        self.0.retain(|gateway, _| is_planned(gateway));
    }

    /// Brings up to date what the API server refuses; gives back whether that has changed.
    pub(super) fn refusals(&self, known: &mut BTreeMap<Name, Refusal>) -> bool {
        let refused = self.0.iter().filter_map(|(gateway, failure)| Some((gateway, failure.refused.as_ref()?)));
        if refused.clone().eq(&*known) {
            return false;
        }
        *known = refused.map(|(gateway, why)| (gateway.clone(), why.clone())).collect();
        true
    }

    /// When the next is to be tried again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|failure| failure.at).min()
    }
}

fn error_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => error.to_string(),
    }
}

/// Whether the API server says no to an object, so that trying it again as it is will not help.
pub(super) fn is_refusal(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    (400..500).contains(&status.code) && ![401, 408, 409, 429].contains(&status.code)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refusal(code: u16, message: &str) -> kube::Error {
        kube::Error::Api(Box::new(Status { code, message: message.to_owned(), ..Status::default() }))
    }

    fn refused(failures: &Failures, gateway: &Name) -> Option<String> {
        let mut refused = BTreeMap::new();
        failures.refusals(&mut refused);
        assert!(!failures.refusals(&mut refused), "they have not changed");
        refused.remove(gateway).map(|it| it.text)
    }

    #[test]
    fn one_gateway_waits_and_no_other_does() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let (first, second) = (Name::new("a", "first"), Name::new("a", "second"));
        failures.failed(first.clone(), 1, "Service a/first", &refusal(403, "quota"), now);
        assert!(!failures.is_due(&first, 1, now));
        assert!(failures.is_due(&second, 1, now));
        assert!(failures.is_due(&first, 2, now), "something else is tried at once");
        let at = failures.next().unwrap();
        assert!(failures.is_due(&first, 1, at));
        assert_eq!(refused(&failures, &first).as_deref(), Some("Service a/first: quota"));
        failures.went_well(&first);
        assert_eq!((refused(&failures, &first), failures.next()), (None, None));
    }

    #[test]
    fn a_server_that_is_away_or_busy_refuses_nothing() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        let gateway = Name::new("a", "g");
        for code in [401, 409, 429, 500, 503] {
            failures.failed(gateway.clone(), 1, "Service a/g", &refusal(code, "later"), now);
            assert_eq!((refused(&failures, &gateway), failures.next().is_some()), (None, true), "{code}");
        }
        failures.failed(gateway.clone(), 1, "Service a/g", &refusal(422, "never"), now);
        assert_eq!(refused(&failures, &gateway).as_deref(), Some("Service a/g: never"));
        failures.failed(gateway.clone(), 1, "Service a/g", &refusal(422, &"x".repeat(5000)), now);
        assert_eq!(refused(&failures, &gateway).unwrap().chars().count(), MAX_REFUSAL);
    }
}
