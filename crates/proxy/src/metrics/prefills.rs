//! Prefills apart from decodes.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Counters of requests to pools with endpoints that prefill.
#[derive(Default)]
pub(crate) struct Prefills(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    backend: String,
    outcome: &'static str,
}

/// Result of a request's prefill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefillOutcome {
    /// Another endpoint did it.
    Remote,
    /// The endpoint that decodes did it: too little of the prompt was not cached there.
    Local,
    /// The same, since no other endpoint would.
    Fallback,
    /// None did it.
    Failed,
}

impl PrefillOutcome {
    fn name(self) -> &'static str {
        match self {
            Self::Remote => "remote",
            Self::Local => "local",
            Self::Fallback => "fallback",
            Self::Failed => "failed",
        }
    }
}

impl Prefills {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Prefills of requests to pools with endpoints that prefill: at another endpoint than the decode (remote), at the same \
                    (local), at the same since no other would (fallback), or nowhere (failed)";
        registry.register("pailou_prefills", help, self.0.clone());
    }

    /// Counts a prefill in this pool.
    pub(crate) fn count(&self, backend: &impl ToString, outcome: PrefillOutcome) {
        self.0.get_or_create(&Labels { backend: backend.to_string(), outcome: outcome.name() }).inc();
    }
}
