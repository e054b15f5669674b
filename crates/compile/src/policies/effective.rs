//! Policies that apply to one rule of a route.

use std::sync::Arc;

use http::HeaderName;
use pailou_snapshot::{Failure, RouteName};

use crate::{ids::PolicyId, index::Index, output::Effect};

use super::{
    backend::TrafficPolicies,
    ext_proc::Processors,
    extensions::ExtensionPolicies,
    overlap::OverlapOutcome,
    security::{Security, SecurityPolicies},
    traffic::Traffic,
};

/// Policies of a listener.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ListenerPolicies {
    /// BackendTrafficPolicy.
    traffic: Option<PolicyId>,
    /// SecurityPolicy.
    security: Option<PolicyId>,
    /// EnvoyExtensionPolicy.
    extensions: Option<PolicyId>,
}

/// Settings of one rule on one listener.
pub(crate) struct RulePolicies {
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) security: Security,
    /// External processors.
    pub(crate) processors: Processors,
    /// The rule fails, as its BackendTrafficPolicy is invalid.
    pub(crate) failure: Option<Failure>,
}

/// Finds the policies of one route's rules.
pub(crate) struct RoutePolicies<'t, 'a> {
    traffic: &'t TrafficPolicies<'a>,
    security: &'t SecurityPolicies<'a>,
    extensions: &'t ExtensionPolicies<'a>,
    /// Policies that meet at the rules.
    pub(crate) effects: Vec<Effect>,
    /// Headers that merged policies of the last rules put identities into.
    pub(crate) merged_identities: Vec<HeaderName>,
}

impl<'t, 'a> RoutePolicies<'t, 'a> {
    pub(crate) fn new(
        traffic: &'t TrafficPolicies<'a>,
        security: &'t SecurityPolicies<'a>,
        extensions: &'t ExtensionPolicies<'a>,
    ) -> Self {
        Self { traffic, security, extensions, effects: Vec::new(), merged_identities: Vec::new() }
    }

    /// The policies of a listener.
    pub(crate) fn of_listener(&self, listener: &pailou_snapshot::ListenerName) -> ListenerPolicies {
        ListenerPolicies {
            traffic: self.traffic.of_listener(listener),
            security: self.security.of_listener(listener),
            extensions: self.extensions.of_listener(listener),
        }
    }

    /// The settings of a rule on a listener with these policies.
    pub(crate) fn of_rule(&mut self, index: &Index<'_>, listener: ListenerPolicies, rule: &RouteName) -> RulePolicies {
        let mut overlaps = Vec::new();
        let (traffic, failure) = match self.traffic.effective(index, listener.traffic, rule, &mut overlaps) {
            Ok(traffic) => (traffic.unwrap_or_default(), None),
            Err((_, problem)) => (Arc::default(), Some(Failure(format!("BackendTrafficPolicy: {}", problem.message).into()))),
        };
        self.effects.extend(overlaps.drain(..).map(Effect::Traffic));
        let mut security = self.security.security(index, listener.security, rule, &mut overlaps);
        if overlaps.iter().any(|overlap| overlap.outcome == OverlapOutcome::Merged) {
            self.merged_identities.extend(security.identity_headers.iter().cloned());
        }
        self.effects.extend(overlaps.drain(..).map(Effect::Security));
        let processors = self.extensions.processors(index, listener.extensions, rule, &mut overlaps).unwrap_or_else(|closed| {
            security.closed.get_or_insert(closed);
            Processors::default()
        });
        self.effects.extend(overlaps.into_iter().map(Effect::Extensions));
        RulePolicies { traffic, security, processors, failure }
    }
}
