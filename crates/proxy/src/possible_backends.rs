//! Backends that a request may go to, as limits have to expect a cost before one is chosen.

use pailou_limits::{LlmCost, LlmCostFailure, LlmCosts, ModelCall};
use pailou_snapshot::{Action, ClusterKind, Rule};

use crate::{cluster::ClusterState, runtime::Runtime};

/// Backends that a request may go to.
#[derive(Clone, Copy)]
pub(crate) enum PossibleBackends<'a> {
    /// Those of a rule that have a weight, fallbacks among them.
    Weighted(&'a Rule, &'a Runtime),
    /// The one that is chosen.
    Chosen(&'a ClusterState),
    /// None is known.
    Unknown,
}

impl<'a> PossibleBackends<'a> {
    /// The cost of a call by the dearest of the backends, and of the names that a pool may give the engine in place of the client's. An
    /// expression that yields no cost counts the call's tokens, as its response is charged then.
    ///
    /// # Errors
    /// By one of them the call has no price.
    pub(crate) fn dearest(self, cost: &LlmCost, costs: Option<&LlmCosts>, call: &ModelCall<'_>) -> Result<u64, LlmCostFailure> {
        let of = |call: &ModelCall<'_>| match cost.of(costs, call) {
            Err(LlmCostFailure::Integer(_)) => Ok(call.tokens.total),
            known => known,
        };
        let mut dearest = None;
        for backend in self.iter() {
            let name = backend.key().endpoints.name();
            let here = ModelCall { backend: Some((&name.namespace, &name.name)), ..*call };
            dearest = dearest.max(Some(with_names(backend, &here, of)?));
        }
        dearest.map_or_else(|| of(call), Ok)
    }

    fn iter(self) -> impl Iterator<Item = &'a ClusterState> {
        let (weighted, chosen) = match self {
            Self::Weighted(Rule { action: Action::Forward(backends), .. }, runtime) => (Some((backends, runtime)), None),
            Self::Chosen(backend) => (None, Some(backend)),
            Self::Weighted(..) | Self::Unknown => (None, None),
        };
        let weighted = weighted.into_iter().flat_map(|(backends, runtime)| {
            let ids = backends.iter().filter(|backend| backend.weight > 0).filter_map(|backend| backend.cluster.as_ref().ok());
            ids.map(|id| &**runtime.cluster(*id))
        });
        weighted.chain(chosen)
    }
}

/// The cost by the dearest of the names that a backend may give the engine.
fn with_names(
    backend: &ClusterState,
    call: &ModelCall<'_>,
    of: impl Fn(&ModelCall<'_>) -> Result<u64, LlmCostFailure>,
) -> Result<u64, LlmCostFailure> {
    let settings = backend.settings();
    let pool = match &settings.kind {
        ClusterKind::Pool(pool) => Some(pool),
        ClusterKind::Service | ClusterKind::Backend => None,
    };
    let asked = call.model.filter(|asked| !asked.is_empty());
    let model = pool.zip(asked).and_then(|(pool, asked)| pool.model(asked));
    let targets = model.map_or(&[][..], |model| &model.targets);
    if targets.is_empty() {
        return of(call);
    }
    targets.iter().try_fold(0, |dearest, target| Ok(dearest.max(of(&ModelCall { target_model: Some(&target.name), ..*call })?)))
}
