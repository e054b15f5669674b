//! The pickers that a run compares.

mod blind;
mod block_tokens;
mod llm_d;
mod omniscient;
mod pailou;
mod waiting;

use clap::ValueEnum;
use pailou_snapshot::RoutingStrategy;

use super::{outcome::Objective, policy::EndpointPicker};

/// A row of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PickerKind {
    /// Any replica.
    Random,
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastRequests,
    /// Pailou by load alone.
    Load,
    /// Pailou with the estimate of cached prefixes.
    Estimate,
    /// The same, with the objective of the run in every request.
    EstimateWithObjective,
    /// The same, where requests wait in the gateway while the pool is saturated.
    EstimateWithQueue,
    /// Two gateways of Pailou, each of which knows the requests that it was sent itself.
    EstimateOfTwo,
    /// Four of them.
    EstimateOfFour,
    /// Pailou with engines' events.
    Exact,
    /// Two gateways of Pailou, each of which follows engines' events.
    ExactOfTwo,
    /// Four of them.
    ExactOfFour,
    /// llm-d's scorers with its estimate.
    LlmDEstimate,
    /// llm-d's scorers with engines' events.
    LlmDExact,
    /// One that sees every queue and cache as it is.
    Omniscient,
}

impl PickerKind {
    /// Its name in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round robin",
            Self::LeastRequests => "least requests",
            Self::Load => "pailou, load",
            Self::Estimate => "pailou, estimate",
            Self::EstimateWithObjective => "pailou, estimate, objective",
            Self::EstimateWithQueue => "pailou, estimate, queue",
            Self::EstimateOfTwo => "pailou, estimate, 2 gateways",
            Self::EstimateOfFour => "pailou, estimate, 4 gateways",
            Self::Exact => "pailou, exact",
            Self::ExactOfTwo => "pailou, exact, 2 gateways",
            Self::ExactOfFour => "pailou, exact, 4 gateways",
            Self::LlmDEstimate => "llm-d, estimate + no-hit-lru",
            Self::LlmDExact => "llm-d, exact + no-hit-lru",
            Self::Omniscient => "omniscient",
        }
    }

    /// The picker, at the start of a run with this objective and reserve of queues, in percent.
    ///
    /// # Errors
    /// When there is no runtime for our picker.
    pub(super) fn start(self, objective: Objective, queue_reserve: u8, seed: u64) -> std::io::Result<Box<dyn EndpointPicker>> {
        let random = fastrand::Rng::with_seed(seed);
        Ok(match self {
            Self::Random => Box::new(blind::Blind::new(blind::Rule::Random, random)),
            Self::RoundRobin => Box::new(blind::Blind::new(blind::Rule::RoundRobin, random)),
            Self::LeastRequests => Box::new(blind::Blind::new(blind::Rule::LeastRequests, random)),
            Self::Load => Box::new(pailou::Pailou::new(RoutingStrategy::Load, 1, seed)?),
            Self::Estimate => Box::new(pailou::Pailou::new(RoutingStrategy::PrefixCache, 1, seed)?),
            Self::EstimateWithObjective => {
                let seconds = |time: f64| Some(time as f32);
                let wanted =
                    pailou_picker::Objective { first_token: seconds(objective.ttft), further_token: seconds(objective.tpot) };
                Box::new(pailou::Pailou::new(RoutingStrategy::PrefixCache, 1, seed)?.with_objective(wanted))
            }
            Self::EstimateWithQueue => Box::new(pailou::Pailou::queueing(queue_reserve, seed)?),
            Self::EstimateOfTwo => Box::new(pailou::Pailou::new(RoutingStrategy::PrefixCache, 2, seed)?),
            Self::EstimateOfFour => Box::new(pailou::Pailou::new(RoutingStrategy::PrefixCache, 4, seed)?),
            Self::Exact => Box::new(pailou::Pailou::exact(1, seed)?),
            Self::ExactOfTwo => Box::new(pailou::Pailou::exact(2, seed)?),
            Self::ExactOfFour => Box::new(pailou::Pailou::exact(4, seed)?),
            Self::LlmDEstimate => Box::new(llm_d::LlmD::new(llm_d::Source::Estimate, random)),
            Self::LlmDExact => Box::new(llm_d::LlmD::new(llm_d::Source::Events, random)),
            Self::Omniscient => Box::new(omniscient::Omniscient::new(random)),
        })
    }
}
