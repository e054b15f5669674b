//! Filters that a request has passed already, where its route may be chosen again: none of them asks or charges a second time.
//!
//! A filter that changes the route ends the passage through its rule's filters at once, as in Envoy: those behind it run as the rule has
//! them that takes the request now.

use std::sync::Arc;

use pailou_snapshot::HttpFilter;

use super::authentication::Identity;

/// Filters that a request has passed, with the identity that each found.
#[derive(Default)]
pub(super) struct PassedFilters(Vec<(HttpFilter, Identity)>);

impl PassedFilters {
    /// Whether the request has passed a filter, or one that is the same.
    pub(super) fn has(&self, filter: &HttpFilter) -> bool {
        self.0.iter().any(|(passed, _)| is_same(passed, filter))
    }

    /// Whether the request has passed none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes that the request has passed a filter.
    pub(super) fn push(&mut self, filter: &HttpFilter, identity: Identity) {
        self.0.push((filter.clone(), identity));
    }

    /// The identity that a rule's own filters have found on the way. Another policy's claims say nothing to this one's rules.
    pub(super) fn identity(&self, filters: &[HttpFilter]) -> Identity {
        let mut found = Identity::default();
        for (passed, identity) in &self.0 {
            if filters.iter().any(|filter| is_same(passed, filter)) {
                found.add(identity.clone());
            }
        }
        found
    }
}

/// Whether the route may be chosen again behind a filter.
pub(super) fn may_rematch(filter: &HttpFilter) -> bool {
    match filter {
        HttpFilter::ExternalAuth(server) => server.settings.recompute_route,
        HttpFilter::Jwt(settings) => settings.providers.iter().any(|provider| provider.recompute_route),
        HttpFilter::ExtProc(_) => true,
        HttpFilter::ResponseOverride(_)
        | HttpFilter::Fault(_)
        | HttpFilter::Cors(_)
        | HttpFilter::Csrf(_)
        | HttpFilter::ApiKeyAuth(_)
        | HttpFilter::BasicAuth(_)
        | HttpFilter::Oidc(_)
        | HttpFilter::Authorization(_)
        | HttpFilter::RateLimit(_)
        | HttpFilter::Compressor(_)
        | HttpFilter::BandwidthLimit(_) => false,
    }
}

/// Whether two filters are one: of one policy, or of two that ask the same server the same.
pub(super) fn is_same(one: &HttpFilter, other: &HttpFilter) -> bool {
    match (one, other) {
        (HttpFilter::ResponseOverride(one), HttpFilter::ResponseOverride(other)) => Arc::ptr_eq(one, other),
        (HttpFilter::Fault(one), HttpFilter::Fault(other)) => Arc::ptr_eq(one, other),
        (HttpFilter::Cors(one), HttpFilter::Cors(other)) => Arc::ptr_eq(one, other),
        (HttpFilter::Csrf(one), HttpFilter::Csrf(other)) => Arc::ptr_eq(one, other),
        (HttpFilter::ExternalAuth(one), HttpFilter::ExternalAuth(other)) => one == other,
        (HttpFilter::ApiKeyAuth(one), HttpFilter::ApiKeyAuth(other)) => Arc::ptr_eq(one, other),
        (HttpFilter::BasicAuth(one), HttpFilter::BasicAuth(other)) => Arc::ptr_eq(one, other),
        // Each rule has a filter of its own.
        (HttpFilter::Oidc(one), HttpFilter::Oidc(other)) => Arc::ptr_eq(&one.settings, &other.settings),
        (HttpFilter::Jwt(one), HttpFilter::Jwt(other)) => Arc::ptr_eq(one, other),
        (HttpFilter::ExtProc(one), HttpFilter::ExtProc(other)) => one.name == other.name,
        (HttpFilter::Authorization(one), HttpFilter::Authorization(other)) => Arc::ptr_eq(one, other),
        (HttpFilter::RateLimit(one), HttpFilter::RateLimit(other)) => Arc::ptr_eq(one, other),
        (HttpFilter::Compressor(one), HttpFilter::Compressor(other)) => Arc::ptr_eq(one, other),
        (HttpFilter::BandwidthLimit(one), HttpFilter::BandwidthLimit(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}
