//! Decision whether a request's spans are kept, as OpenTelemetry's samplers make it.

use std::fmt;

use crate::ids::TraceId;

/// A sampler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// Decision on requests without a parent, or on all.
    pub root: RootSampler,
    /// A parent that says whether it is kept decides.
    pub is_parent_based: bool,
    /// Part that is kept of the requests without a parent whose clients force it.
    pub forced: Ratio,
    /// Part of all that is kept at most, whoever has decided.
    pub overall: Ratio,
}

/// Parts of a sampler that a rule sets anew; `None` leaves what the sampler has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplingOverride {
    /// Part of the requests without a parent.
    pub root: Option<Ratio>,
    /// Part of those whose clients force it.
    pub forced: Option<Ratio>,
    /// Part of all.
    pub overall: Option<Ratio>,
}

/// Decision on the root of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootSampler {
    /// All are kept.
    AlwaysOn,
    /// None is kept.
    AlwaysOff,
    /// A part is kept, which the trace's identity decides, so that all services of a trace decide alike.
    TraceIdRatio(Ratio),
}

/// A part of all traces, as the bound of their identities' last 63 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio(u64);

/// Reason why variables name no sampler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SamplerError {
    /// No such sampler.
    Name(String),
    /// The argument is no ratio.
    Argument(String),
}

impl fmt::Display for SamplerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(
                f,
                "OTEL_TRACES_SAMPLER: {name:?}: expected always_on, always_off or traceidratio, alone or after parentbased_"
            ),
            Self::Argument(text) => write!(f, "OTEL_TRACES_SAMPLER_ARG: {text:?}: expected a number from 0 to 1"),
        }
    }
}

impl std::error::Error for SamplerError {}

impl Ratio {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything: identities have 63 bits.
    pub const ALL: Self = Self(1 << 63);

    /// A part from 0 to 1; what is beyond is cut.
    pub fn new(part: f64) -> Self {
        // A cast from a float saturates, and makes 0 of what is no number.
        Self((part.clamp(0.0, 1.0) * (1u64 << 63) as f64) as u64)
    }

    /// Whether a trace is within the part.
    pub fn contains(self, trace_id: TraceId) -> bool {
        trace_id.ratio_point() < self.0
    }
}

impl Default for Sampler {
    /// OpenTelemetry's: `parentbased_always_on`.
    fn default() -> Self {
        Self { root: RootSampler::AlwaysOn, is_parent_based: true, forced: Ratio::NONE, overall: Ratio::ALL }
    }
}

impl Sampler {
    /// The sampler that `OTEL_TRACES_SAMPLER` names, with the argument of `OTEL_TRACES_SAMPLER_ARG`.
    ///
    /// # Errors
    /// There is no such sampler, or its argument is no number from 0 to 1.
    pub fn parse(name: &str, argument: Option<&str>) -> Result<Self, SamplerError> {
        let (is_parent_based, root) = match name.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, name),
        };
        let root = match root {
            "always_on" => RootSampler::AlwaysOn,
            "always_off" => RootSampler::AlwaysOff,
            "traceidratio" => {
                let text = argument.unwrap_or("1.0");
                let part = text.trim().parse::<f64>().ok().filter(|part| (0.0..=1.0).contains(part));
                RootSampler::TraceIdRatio(Ratio::new(part.ok_or_else(|| SamplerError::Argument(text.to_owned()))?))
            }
            _ => return Err(SamplerError::Name(name.to_owned())),
        };
        Ok(Self { root, is_parent_based, ..Self::default() })
    }

    /// The same with what a rule sets anew.
    #[must_use]
    pub fn with(self, set: SamplingOverride) -> Self {
        Self {
            root: set.root.map_or(self.root, RootSampler::TraceIdRatio),
            forced: set.forced.unwrap_or(self.forced),
            overall: set.overall.unwrap_or(self.overall),
            ..self
        }
    }

    /// Whether the spans of a request are kept whose parent, if it has one, is kept or not, and whose client may force it. The trace's identity
    /// decides at each step, so that the larger part always contains the smaller.
    pub fn keeps(self, trace_id: TraceId, is_parent_sampled: Option<bool>, is_forced: impl FnOnce() -> bool) -> bool {
        self.is_selected(trace_id, is_parent_sampled, is_forced) && self.overall.contains(trace_id)
    }

    fn is_selected(self, trace_id: TraceId, is_parent_sampled: Option<bool>, is_forced: impl FnOnce() -> bool) -> bool {
        if let (true, Some(is_sampled)) = (self.is_parent_based, is_parent_sampled) {
            return is_sampled;
        }
        if self.forced != Ratio::NONE && self.forced.contains(trace_id) && is_forced() {
            return true;
        }
        match self.root {
            RootSampler::AlwaysOn => true,
            RootSampler::AlwaysOff => false,
            RootSampler::TraceIdRatio(ratio) => ratio.contains(trace_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(number: u128) -> TraceId {
        // Spread over all bits, by an odd constant.
        TraceId::from_random(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))
    }

    #[test]
    fn a_ratio_keeps_its_part_and_a_larger_one_keeps_those_too() {
        let kept = |part: f64| (1..=20_000).filter(|&number| Ratio::new(part).contains(trace(number))).collect::<Vec<_>>();
        let (tenth, half) = (kept(0.1), kept(0.5));
        assert!((1800..2200).contains(&tenth.len()), "{}", tenth.len());
        assert!((9500..10_500).contains(&half.len()), "{}", half.len());
        assert!(tenth.iter().all(|number| half.contains(number)));
        assert_eq!((kept(0.0).len(), kept(1.0).len()), (0, 20_000));
    }

    #[test]
    fn a_ratio_decides_as_other_sdks_do() {
        // Go's: the last eight bytes, without their last bit, below the part of 2^63.
        let at = |low: u64| TraceId::from_random(u128::from(low) | 1 << 100);
        assert!(Ratio::new(0.5).contains(at(0x7fff_ffff_ffff_ffff)));
        assert!(!Ratio::new(0.5).contains(at(0x8000_0000_0000_0000)));
    }

    #[test]
    fn a_parent_decides_only_where_the_sampler_asks_it() {
        for (name, by_parent) in [
            ("always_on", [true, true, true]),
            ("always_off", [false, false, false]),
            ("parentbased_always_on", [true, false, true]),
            ("parentbased_always_off", [true, false, false]),
            ("parentbased_traceidratio", [true, false, false]),
            ("traceidratio", [false, false, false]),
        ] {
            let sampler = Sampler::parse(name, Some("0")).unwrap();
            let decisions = [Some(true), Some(false), None].map(|parent| sampler.keeps(trace(7), parent, || true));
            assert_eq!(decisions, by_parent, "{name}");
        }
    }

    #[test]
    fn a_client_forces_its_part_and_the_overall_part_bounds_all() {
        let half = || Ratio::new(0.5);
        let at = |low: u64| TraceId::from_random(u128::from(low) | 1 << 100);
        let [low, high] = [at(1 << 62), at(3 << 62)];
        let none = Sampler { root: RootSampler::AlwaysOff, ..Sampler::default() };
        assert!(!none.keeps(low, None, || unreachable!("nothing asks while clients may force nothing")));
        let forced = none.with(SamplingOverride { forced: Some(half()), ..SamplingOverride::default() });
        let kept = |sampler: Sampler, id| {
            [(None, true), (None, false), (Some(false), true)].map(|(it, yes)| sampler.keeps(id, it, || yes))
        };
        assert_eq!(kept(forced, low), [true, false, false], "a parent decides before the client's wish");
        assert_eq!(kept(forced, high), [false, false, false]);
        let bound = Sampler::default().with(SamplingOverride { overall: Some(half()), ..SamplingOverride::default() });
        assert_eq!([low, high].map(|id| bound.keeps(id, Some(true), || true)), [true, false]);
        let root = SamplingOverride { root: Some(Ratio::NONE), ..SamplingOverride::default() };
        assert!(!Sampler::default().with(root).keeps(low, None, || true));
    }

    #[test]
    fn what_names_no_sampler_says_what_would() {
        for (name, argument, says) in [
            ("jaeger_remote", None, "expected always_on, always_off or traceidratio"),
            ("traceidratio", Some("7"), "a number from 0 to 1"),
            ("parentbased_traceidratio", Some("x"), "OTEL_TRACES_SAMPLER_ARG"),
            ("traceidratio", Some("NaN"), "a number from 0 to 1"),
        ] {
            let error = Sampler::parse(name, argument).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(Sampler::parse("parentbased_always_on", None), Ok(Sampler::default()));
    }
}
