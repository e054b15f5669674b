//! Rules of a policy, and the counters that a request is charged to by them.

use std::sync::Arc;

use crate::{ClientSelector, Cost, Descriptor, MetadataKey, RequestFacts, Window, selector::HeaderCache};

/// Rules of one rule of a route.
#[derive(Clone, Debug)]
pub struct RateLimits {
    /// Rules, in order.
    pub rules: Vec<LimitRule>,
    /// A rule without selectors counts only where no other matches (`local`); else every rule that matches counts.
    pub has_default: bool,
}

/// A limit.
#[derive(Clone, Debug)]
pub struct LimitRule {
    /// Policy and place, as people see it: `namespace/policy/rule/0`.
    pub name: Arc<str>,
    /// Identity by content: rules that are reordered keep their counters.
    pub id: u64,
    /// Its place among the rules of the same reach, from 0: Envoy Gateway's number of it in the descriptors of a rate limit service.
    pub place: u32,
    /// Requests that it is for: all selectors have to match. Empty: all requests.
    pub selectors: Vec<ClientSelector>,
    /// Cost that a window has room for. 0 refuses everything.
    pub limit: u64,
    /// The window.
    pub window: Window,
    /// A limit among the facts of the client, in place of `limit` and `window`.
    pub limit_from: Option<MetadataKey>,
    /// Cost of a request, when it comes.
    pub request_cost: Cost,
    /// Cost of its response, when it has ended.
    pub response_cost: Option<Cost>,
    /// Targets that share a counter.
    pub reach: Reach,
    /// The rule counts and refuses nothing.
    pub is_shadow: bool,
    /// Whether responses say what is left; `None` where the listener decides.
    pub has_headers: Option<bool>,
}

/// Targets that share a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Each rule of a route on each listener has its own.
    RouteRule,
    /// All targets of the policy share one.
    Policy,
}

impl RateLimits {
    /// The rules that a request is charged by, each with the values that tell its counters apart.
    pub fn select<'r>(&'r self, facts: &RequestFacts<'_>) -> Vec<(&'r LimitRule, Descriptor)> {
        let mut headers = HeaderCache::new(facts);
        let mut selected = Vec::with_capacity(self.rules.len());
        selected.extend(self.rules.iter().filter_map(|rule| Some((rule, rule.select(&mut headers)?))));
        if self.has_default && selected.iter().any(|(rule, _)| !rule.selectors.is_empty()) {
            selected.retain(|(rule, _)| !rule.selectors.is_empty());
        }
        selected
    }
}

impl LimitRule {
    fn select<'s>(&'s self, headers: &mut HeaderCache<'s, '_, '_>) -> Option<Descriptor> {
        if self.selectors.is_empty() {
            return Some(Descriptor::default());
        }
        // All of a rule's selectors are one condition.
        let mut descriptor = Descriptor::default();
        self.selectors.iter().all(|selector| selector.select(headers, &mut descriptor)).then_some(descriptor)
    }
}
