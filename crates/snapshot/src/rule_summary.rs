//! Names of all that a rule does to its requests, for those who explain.

use super::{Action, Filters, Rule};

impl Rule {
    /// Names of its filters, in the order in which requests pass them; then those of what it does to responses.
    pub fn filter_names(&self) -> Vec<&'static str> {
        self.filters.names()
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
            (self.session.is_some(), "sessionPersistence"),
            (self.has_backend_limits(), "backend rateLimit"),
        ];
        named.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| self.with_origins(name)).collect()
    }

    fn with_origins(&self, field: &'static str) -> String {
        let objects = self.policy.origins.iter().filter(|origin| origin.field == field);
        objects.enumerate().fold(field.to_owned(), |text, (at, origin)| {
            let before = if at == 0 { "by" } else { "and" };
            format!("{text} {before} {}", origin.object)
        })
    }

    fn has_backend_limits(&self) -> bool {
        matches!(&self.action, Action::Forward(backends) if backends.iter().any(|backend| backend.limits.is_some()))
    }
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
