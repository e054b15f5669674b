//! Names of all that a rule does to its requests, for those who explain.

use super::{Action, Filters, Rule};

/// Most objects of one field.
const MAX_OBJECTS: usize = 16;

impl Rule {
    /// Names of its filters, in the order in which requests pass them; then those of what it does to responses. Each with the policies that set
    /// it: `jwt by SecurityPolicy shop/clients`.
    pub fn filter_names(&self) -> Vec<String> {
        self.filters.names().into_iter().map(|name| self.with_origins(name)).collect()
    }

    /// Names of its further policies, each with the objects that set it: `retry by BackendTrafficPolicy shop/patient`.
    pub fn policy_names(&self) -> Vec<String> {
        let policy = &self.policy;
        let timeouts = &policy.timeouts;
        let limits_time = timeouts.request.is_some() || timeouts.attempt.is_some() || timeouts.stream_idle.is_some();
        let named = [
            (limits_time, "timeouts"),
            (policy.retry.is_some(), "retry"),
            (policy.breaker.is_some(), "circuitBreaker"),
            (policy.admission_control.is_some(), "admissionControl"),
            (policy.max_body.is_some(), "requestBuffer"),
            (policy.upgrades.is_some(), "httpUpgrade"),
            (policy.sampling.is_some() || policy.spans.is_some(), "telemetry"),
        ];
        let named = named.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| self.with_origins(name));
        let session = self.session.is_some().then(|| {
            // The route's own.
            format!("sessionPersistence by {} {}", self.route.kind.name(), self.route.name)
        });
        named.chain(session).chain(self.backend_limits()).collect()
    }

    fn with_origins(&self, field: &'static str) -> String {
        let origins = self.policy.origins.iter().chain(self.filters.origins.iter()).filter(|origin| origin.field == field);
        set_by(field, origins.map(|origin| &*origin.object))
    }

    /// Backends with limits of their own.
    fn backend_limits(&self) -> Option<String> {
        let Action::Forward(backends) = &self.action else { return None };
        let mut objects: Vec<&str> = Vec::new();
        for limits in backends.iter().filter_map(|backend| backend.limits.as_ref()) {
            let object = limits.backend.as_deref().unwrap_or_default();
            if objects.len() < MAX_OBJECTS && !objects.contains(&object) {
                objects.push(object);
            }
        }
        (!objects.is_empty()).then(|| set_by("backend rateLimit", objects.into_iter()))
    }
}

/// A field with the objects that set it.
fn set_by<'o>(field: &'static str, objects: impl Iterator<Item = &'o str>) -> String {
    objects.enumerate().fold(field.to_owned(), |text, (at, object)| {
        let before = if at == 0 { "by" } else { "and" };
        format!("{text} {before} {object}")
    })
}

impl Filters {
    /// Names of the filters, in the order in which they are applied.
    pub fn names(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.http.iter().map(|filter| filter.name()).collect();
        let named = [
            (self.request_headers.is_some(), "requestHeaderModifier"),
            (!self.mirrors.is_empty(), "requestMirror"),
            (self.rewrite.is_some(), "urlRewrite"),
            (!self.credentials.is_empty(), "credentialInjection"),
            (self.response_headers.is_some(), "responseHeaderModifier"),
        ];
        names.extend(named.into_iter().filter_map(|(is_set, name)| is_set.then_some(name)));
        names
    }
}
