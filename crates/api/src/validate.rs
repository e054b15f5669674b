//! The rules of the kinds' schemas that types cannot express: counts, ranges, and how fields go together.
//!
//! They are the CRDs' own rules (`x-kubernetes-validations`, `minItems`, `maxItems`, `maximum`, …). Their texts here
//! say what to do, as a user has no API server to ask when objects come from files.

mod ai_gateway;
mod backend_traffic;
mod backends;
mod client_traffic;
mod filters;
mod gateway;
mod inference;
mod routes;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::{Object, envoy::rate_limit::RateLimit};

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field.
    pub path: String,
    /// Problem and remedy.
    pub message: String,
}

impl Object {
    /// The rules of its kind's schema that the object breaks. `version` is the API version it was written in.
    pub fn validate(&self, version: &str) -> Vec<Violation> {
        let mut check = Check { path: "spec".to_owned(), violations: Vec::new() };
        match self {
            Object::GatewayClass(class) => gateway::class(&mut check, &class.spec),
            Object::Gateway(gateway) => gateway::gateway(&mut check, &gateway.spec),
            Object::ListenerSet(set) => gateway::listeners(&mut check, &set.spec.listeners),
            Object::HttpRoute(route) => routes::http(&mut check, &route.spec),
            Object::GrpcRoute(route) => routes::grpc(&mut check, &route.spec),
            Object::TlsRoute(route) => routes::tls(&mut check, &route.spec, version),
            Object::TcpRoute(route) => routes::connections(&mut check, &route.spec.parent_refs, &route.spec.rules, version),
            Object::UdpRoute(route) => routes::connections(&mut check, &route.spec.parent_refs, &route.spec.rules, version),
            Object::ReferenceGrant(grant) => {
                check.count("from", grant.spec.from.len(), 1..=16);
                check.count("to", grant.spec.to.len(), 1..=16);
            }
            Object::BackendTlsPolicy(policy) => backends::tls_policy(&mut check, &policy.spec),
            Object::InferencePool(pool) => inference::pool(&mut check, &pool.spec),
            Object::InferenceModel(model) => inference::model(&mut check, &model.spec),
            Object::InferenceModelRewrite(rewrite) => inference::rewrite(&mut check, &rewrite.spec),
            Object::Backend(backend) => backends::backend(&mut check, &backend.spec),
            Object::EnvoyHttpRouteFilter(filter) => backends::envoy_filter(&mut check, &filter.spec),
            Object::ClientTrafficPolicy(policy) => client_traffic::policy(&mut check, &policy.spec),
            Object::BackendTrafficPolicy(policy) => backend_traffic::policy(&mut check, &policy.spec),
            Object::SecurityPolicy(policy) => check.targets(policy.spec.targets().len() + policy.spec.target_selectors.len()),
            Object::GatewayConfig(config) => ai_gateway::config(&mut check, &config.spec),
            Object::InferenceObjective(_)
            | Object::EnvoyProxy(_)
            | Object::EnvoyExtensionPolicy(_)
            | Object::EnvoyPatchPolicy(_)
            | Object::InferenceTrafficPolicy(_)
            | Object::AckTrafficFilter(_)
            | Object::Namespace(_)
            | Object::Pod(_)
            | Object::Service(_)
            | Object::Secret(_)
            | Object::ConfigMap(_)
            | Object::EndpointSlice(_)
            | Object::ClusterTrustBundle(_) => {}
        }
        check.violations
    }
}

/// The rules of the schema that limits break, which stand outside of a BackendTrafficPolicy.
pub(crate) fn rate_limit(limit: &RateLimit) -> Vec<Violation> {
    let mut check = Check { path: "rateLimit".to_owned(), violations: Vec::new() };
    backend_traffic::rate_limit(&mut check, limit);
    check.violations
}

/// Collects violations while it walks along an object's fields.
pub(super) struct Check {
    path: String,
    violations: Vec<Violation>,
}

impl Check {
    /// Reports the current field.
    pub(super) fn fail(&mut self, message: impl Into<String>) {
        self.violations.push(Violation { path: self.path.clone(), message: message.into() });
    }

    /// Reports a field of the current one.
    pub(super) fn fail_at(&mut self, field: &str, message: impl Into<String>) {
        self.at(field, |check| check.fail(message));
    }

    /// Walks into a field.
    pub(super) fn at(&mut self, field: &str, within: impl FnOnce(&mut Check)) {
        let length = self.path.len();
        self.path.push('.');
        self.path.push_str(field);
        within(self);
        self.path.truncate(length);
    }

    /// Walks into every item of a list.
    pub(super) fn each<T>(&mut self, field: &str, items: &[T], mut within: impl FnMut(&mut Check, &T)) {
        for (index, item) in items.iter().enumerate() {
            self.at(&format!("{field}[{index}]"), |check| within(check, item));
        }
    }

    /// Checks how many items a list has.
    pub(super) fn count(&mut self, field: &str, count: usize, allowed: RangeInclusive<usize>) {
        if count < *allowed.start() {
            self.fail_at(field, format!("has {count} items, but needs at least {}", allowed.start()));
        } else if count > *allowed.end() {
            self.fail_at(field, format!("has {count} items, but at most {} are allowed", allowed.end()));
        }
    }

    /// Checks a number's range.
    pub(super) fn range<T: PartialOrd + Display>(&mut self, field: &str, value: T, allowed: RangeInclusive<T>) {
        if !allowed.contains(&value) {
            self.fail_at(field, format!("{value} is not allowed: use {} to {}", allowed.start(), allowed.end()));
        }
    }

    /// Checks a text's length in characters.
    pub(super) fn length(&mut self, field: &str, text: &str, allowed: RangeInclusive<usize>) {
        let length = text.chars().count();
        if !allowed.contains(&length) {
            let (least, most) = (allowed.start(), allowed.end());
            self.fail_at(field, format!("has {length} characters: use {least} to {most}"));
        }
    }

    /// Checks that no two items have the same key; the second is reported.
    pub(super) fn unique<T, K: Ord + Display>(&mut self, field: &str, items: &[T], key: impl Fn(&T) -> Option<K>) {
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            if let Some(key) = key(item)
                && let Some(repeated) = seen.replace(key)
            {
                self.fail_at(&format!("{field}[{index}]"), format!("\"{repeated}\" is there twice: it must be unique"));
            }
        }
    }

    /// Checks that a policy applies to something.
    pub(super) fn targets(&mut self, count: usize) {
        if count == 0 {
            self.fail("the policy applies to nothing: set targetRefs (or targetSelectors)");
        }
    }
}
