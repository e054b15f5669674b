//! SecurityPolicy: who may call. A policy that cannot be enforced whole closes the rules that it protects.

mod api_key_auth;
mod authorization;
mod basic_auth;
mod csrf;
mod identity_header;
mod jwt;
mod secrets;

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderName;
use pailou_api::{
    Resource, SecurityPolicy,
    envoy::{
        merge::{MergeOver, MergeType},
        security_policy::SecurityPolicySpec,
    },
    refs::{PolicyTargetReference, TargetSelector},
};
use pailou_snapshot::{AuthorizationFilter, CsrfFilter, Failure, HttpFilter, RouteName};

use crate::{
    ids::{ListenerId, PolicyId},
    index::{Index, TrackedTable},
    status::Problem,
};

use super::{
    ancestors::{self, Reach},
    cors,
    overlap::Overlap,
    policy_targets::{PolicyTargets, TargetedSpec},
    targets::TargetKind,
};
use secrets::Secrets;

/// All SecurityPolicies.
pub(crate) type SecurityPolicies<'a> = PolicyTargets<'a, SecurityPolicySpec>;

/// Settings of a SecurityPolicy.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecuritySettings {
    filters: Arc<[HttpFilter]>,
    /// Headers that backends get identities in. Clients' own are removed.
    identity_headers: Arc<[HeaderName]>,
}

/// SecurityPolicy of a rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    filters: Arc<[HttpFilter]>,
    /// Why the rule must answer nobody.
    pub(crate) closed: Option<Failure>,
}

impl Security {
    /// Why a route of connections must serve nobody: they bear no credentials that could be asked for.
    pub(crate) fn closed_to_connections(self) -> Option<Failure> {
        let guards = |filter: &HttpFilter| match filter {
            HttpFilter::ApiKeyAuth(_) => Some("apiKeyAuth"),
            HttpFilter::BasicAuth(_) => Some("basicAuth"),
            HttpFilter::Jwt(_) => Some("jwt"),
            HttpFilter::Authorization(_) => Some("authorization"),
            HttpFilter::ResponseOverride(_)
            | HttpFilter::Fault(_)
            | HttpFilter::Cors(_)
            | HttpFilter::Csrf(_)
            | HttpFilter::ExternalAuth(_)
            | HttpFilter::ExtProc(_)
            | HttpFilter::RateLimit(_)
            | HttpFilter::Compressor(_) => None,
        };
        let guard = self.filters.iter().find_map(guards);
        self.closed
            .or_else(|| guard.map(|field| Failure(format!("SecurityPolicy {field} cannot be enforced for connections").into())))
    }

    /// Filters for the rule, unless it has its own of the same kind.
    pub(crate) fn http_filters(&self) -> &[HttpFilter] {
        &self.filters
    }
}

impl SecurityPolicies<'_> {
    /// The settings of a rule on a listener with the policy `outer`. A policy that cannot be enforced closes the rule.
    pub(crate) fn security(
        &self,
        index: &Index<'_>,
        outer: Option<PolicyId>,
        rule: &RouteName,
        overlaps: &mut Vec<Overlap>,
    ) -> Security {
        match self.effective(index, outer, rule, overlaps) {
            Ok(settings) => Security { filters: settings.unwrap_or_default().filters, closed: None },
            Err((SecurityPolicy { meta, .. }, problem)) => {
                let message = format!("SecurityPolicy {}/{}: {}", meta.namespace, meta.name, problem.message);
                Security { filters: Arc::default(), closed: Some(Failure(message.into())) }
            }
        }
    }
}

impl SecurityPolicies<'_> {
    /// Headers, by listener, that policies put identities into. A client could else name itself wherever authentication is optional or
    /// absent.
    pub(crate) fn identity_headers(&self, reach: &Reach<'_, '_>) -> BTreeMap<ListenerId, Vec<HeaderName>> {
        let mut headers: BTreeMap<ListenerId, Vec<HeaderName>> = BTreeMap::new();
        for (target, policy) in self.winners() {
            let Ok(settings) = self.get(*policy).1 else { continue };
            if settings.identity_headers.is_empty() {
                continue;
            }
            for listener in ancestors::listeners(reach, target) {
                headers.entry(listener).or_default().extend_from_slice(&settings.identity_headers);
            }
        }
        for list in headers.values_mut() {
            list.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
            list.dedup();
        }
        headers
    }
}

impl TargetedSpec for SecurityPolicySpec {
    const KIND: &'static str = "SecurityPolicy";
    const TARGETS: &'static [TargetKind] = TargetKind::ROUTING;
    const IF_INVALID: &'static str = ": the routes that the policy applies to answer 500 to everyone until it is mended or removed";
    type Settings = SecuritySettings;

    fn table<'t, 'a>(index: &'t Index<'a>) -> &'t TrackedTable<'a, Resource<Self>> {
        &index.security_policies
    }

    fn targets(&self) -> Vec<PolicyTargetReference> {
        self.targets()
    }

    fn selectors(&self) -> &[TargetSelector] {
        &self.target_selectors
    }

    fn merge_type(&self) -> Option<MergeType> {
        self.merge_type
    }

    fn read(index: &Index<'_>, policy: &SecurityPolicy) -> Result<Self::Settings, Problem> {
        let own = &policy.meta.namespace;
        read(index, &policy.spec, &Namespaces { api_keys: own, users: own, providers: own })
    }

    fn read_merged(
        index: &Index<'_>,
        policy: &SecurityPolicy,
        parent: &SecurityPolicy,
        merge_type: MergeType,
    ) -> Result<Self::Settings, Problem> {
        let of = |is_own: bool| if is_own { &*policy.meta.namespace } else { &*parent.meta.namespace };
        let namespaces = Namespaces {
            api_keys: of(policy.spec.api_key_auth.as_ref().is_some_and(|it| !it.credential_refs.is_empty())),
            users: of(policy.spec.basic_auth.is_some()),
            providers: of(policy.spec.jwt.as_ref().is_some_and(|it| !it.providers.is_empty())),
        };
        read(index, &policy.spec.over(&parent.spec, merge_type), &namespaces)
    }

    fn unenforced(_policy: &SecurityPolicy) -> Vec<&'static str> {
        // A policy that is not enforced whole is refused.
        Vec::new()
    }
}

/// Namespaces of references: that of the policy, of two that are merged, which has the field.
struct Namespaces<'p> {
    api_keys: &'p str,
    users: &'p str,
    providers: &'p str,
}

fn read(index: &Index<'_>, spec: &SecurityPolicySpec, namespaces: &Namespaces<'_>) -> Result<SecuritySettings, Problem> {
    if let Some(errors) = &spec.undecodable {
        return Err(Problem::accepted("Invalid", format!("does not decode: {errors}")));
    }
    let unenforced = spec.unsupported();
    if !unenforced.is_empty() {
        let paths: Vec<_> = unenforced.iter().map(|path| format!("spec.{path}")).collect();
        return Err(Problem::accepted("Invalid", format!("{} cannot be enforced", paths.join(", "))));
    }
    let (mut filters, mut identity_headers) = (Vec::new(), Vec::new());
    if let Some(spec) = &spec.cors {
        filters.push(HttpFilter::Cors(Arc::new(cors::of_policy(spec)?)));
    }
    if let Some(spec) = &spec.csrf {
        let (settings, shadow) = csrf::read(spec)?;
        filters.push(HttpFilter::Csrf(Arc::new(CsrfFilter { settings, shadow })));
    }
    if let Some(spec) = &spec.api_key_auth {
        let settings = api_key_auth::read(&Secrets::new(index, namespaces.api_keys), spec)?;
        identity_headers.extend(settings.client_id_header.clone());
        filters.push(HttpFilter::ApiKeyAuth(Arc::new(settings)));
    }
    if let Some(spec) = &spec.basic_auth {
        let settings = basic_auth::read(&Secrets::new(index, namespaces.users), spec)?;
        identity_headers.extend(settings.username_header.clone());
        filters.push(HttpFilter::BasicAuth(Arc::new(settings)));
    }
    let tokens = spec.jwt.as_ref().map(|spec| jwt::read(&Secrets::new(index, namespaces.providers), spec)).transpose()?;
    let rules = spec.authorization.as_ref().map(|spec| authorization::read(spec, tokens.as_ref())).transpose()?;
    if let Some(settings) = tokens {
        let claims = settings.providers.iter().flat_map(|provider| &provider.claim_headers);
        identity_headers.extend(claims.map(|it| it.header.clone()));
        filters.push(HttpFilter::Jwt(Arc::new(settings)));
    }
    filters.extend(rules.map(|rules| HttpFilter::Authorization(Arc::new(AuthorizationFilter::new(rules)))));
    Ok(SecuritySettings { filters: filters.into(), identity_headers: identity_headers.into() })
}
