//! SecurityPolicy: who may call. A policy that cannot be enforced whole closes the rules that it protects.

mod api_key_auth;
mod authorization;
mod basic_auth;
mod csrf;
pub(crate) mod ext_auth;
mod geo_location;
mod identity_header;
mod jwt;
pub(crate) mod oidc;
pub(crate) mod policy_document;
mod remote_jwks;
mod secrets;

use std::{collections::BTreeMap, sync::Arc};

use http::HeaderName;
use pailou_api::{
    Resource, SecurityPolicy,
    envoy::{
        backend_settings::BackendSettings,
        ext_auth::ExtAuth,
        merge::{MergeOver, MergeType},
        security_policy::SecurityPolicySpec,
    },
    refs::{PolicyTargetReference, TargetSelector},
};
use pailou_snapshot::{AuthorizationFilter, CsrfFilter, Failure, FieldOrigin, HttpFilter, RouteName};

use crate::{
    ids::{ListenerId, PolicyId},
    index::{Index, TrackedTable},
    status::Problem,
};

use super::{
    ancestors::{self, Reach},
    cors, deprecated, origins,
    overlap::Overlap,
    policy_targets::{PolicyTargets, TargetedSpec},
    targets::TargetKind,
};
use authorization::DENIED_MODEL_ANNOTATION;
use ext_auth::PolicyAuth;
use oidc::PolicyOidc;
use policy_document::PolicyDocument;
use secrets::Secrets;

/// All SecurityPolicies.
pub(crate) type SecurityPolicies<'a> = PolicyTargets<'a, SecurityPolicySpec>;

/// Settings of a SecurityPolicy.
#[derive(Clone, Debug, Default)]
pub(crate) struct SecuritySettings {
    filters: Arc<[HttpFilter]>,
    /// The authorization server.
    ext_auth: Option<Arc<PolicyAuth>>,
    oidc: Option<Arc<PolicyOidc>>,
    /// Key sets to fetch.
    documents: Arc<[PolicyDocument]>,
    /// Headers that backends get identities in. Clients' own are removed.
    identity_headers: Arc<[HeaderName]>,
    /// Why requests pass without the authorization server.
    problem: Option<Problem>,
    /// Objects that set its fields.
    origins: Arc<[FieldOrigin]>,
}

/// SecurityPolicy of a rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Security {
    filters: Arc<[HttpFilter]>,
    /// The authorization server.
    pub(crate) ext_auth: Option<Arc<PolicyAuth>>,
    /// Login at a provider.
    pub(crate) oidc: Option<Arc<PolicyOidc>>,
    /// Key sets to fetch.
    pub(crate) documents: Arc<[PolicyDocument]>,
    /// Headers that backends get identities in.
    pub(crate) identity_headers: Arc<[HeaderName]>,
    /// Why the rule must answer nobody.
    pub(crate) closed: Option<Failure>,
    /// Objects that set its fields.
    pub(crate) origins: Arc<[FieldOrigin]>,
}

impl Security {
    /// The rules over addresses that a route of connections has.
    ///
    /// # Errors
    /// Why it must serve nobody: connections bear no credentials that could be asked for.
    pub(crate) fn for_connections(self) -> Result<Option<Arc<AuthorizationFilter>>, Failure> {
        if let Some(closed) = self.closed {
            return Err(closed);
        }
        let servers = self.ext_auth.as_ref().map(|_| "extAuth").or(self.oidc.as_ref().map(|_| "oidc"));
        let guard = self.filters.iter().find_map(guard_of_requests).or(servers);
        if let Some(field) = guard {
            return Err(Failure(format!("SecurityPolicy {field} cannot be enforced for connections").into()));
        }
        Ok(self.filters.iter().find_map(|filter| match filter {
            HttpFilter::Authorization(rules) => Some(rules.clone()),
            _ => None,
        }))
    }

    /// Filters for the rule, unless it has its own of the same kind.
    pub(crate) fn http_filters(&self) -> &[HttpFilter] {
        &self.filters
    }
}

/// The field of a filter that guards requests, and could let no connection through.
fn guard_of_requests(filter: &HttpFilter) -> Option<&'static str> {
    match filter {
        HttpFilter::ApiKeyAuth(_) => Some("apiKeyAuth"),
        HttpFilter::BasicAuth(_) => Some("basicAuth"),
        HttpFilter::Jwt(_) => Some("jwt"),
        HttpFilter::Oidc(_) => Some("oidc"),
        HttpFilter::Authorization(rules) if !rules.rules.is_for_connections() => Some("authorization beside clientCIDRs"),
        HttpFilter::ResponseOverride(_)
        | HttpFilter::Fault(_)
        | HttpFilter::Cors(_)
        | HttpFilter::Csrf(_)
        | HttpFilter::ExternalAuth(_)
        | HttpFilter::ExtProc(_)
        | HttpFilter::Authorization(_)
        | HttpFilter::RateLimit(_)
        | HttpFilter::Compressor(_)
        | HttpFilter::BandwidthLimit(_) => None,
    }
}

/// Checks that a policy with a TCPRoute among its targets sets nothing but rules over addresses.
fn check_targets(policy: &SecurityPolicy, settings: &SecuritySettings) -> Result<(), Problem> {
    let (refs, selectors) = (policy.spec.targets(), &policy.spec.target_selectors);
    let names_tcp = refs.iter().any(|it| &*it.kind == "TCPRoute") || selectors.iter().any(|it| &*it.kind == "TCPRoute");
    let is_rules = |filter: &HttpFilter| matches!(filter, HttpFilter::Authorization(rules) if rules.rules.is_for_connections());
    if !names_tcp || settings.ext_auth.is_none() && settings.oidc.is_none() && settings.filters.iter().all(is_rules) {
        return Ok(());
    }
    let message = "the target is a TCPRoute, whose connections bear no credentials: write authorization with clientCIDRs alone";
    Err(Problem::accepted("Invalid", message))
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
            Ok(settings) => {
                let settings = settings.unwrap_or_default();
                let SecuritySettings { filters, ext_auth, oidc, documents, identity_headers, origins, .. } = settings;
                Security { filters, ext_auth, oidc, documents, identity_headers, origins, closed: None }
            }
            Err((SecurityPolicy { meta, .. }, problem)) => {
                let message = format!("SecurityPolicy {}/{}: {}", meta.namespace, meta.name, problem.message);
                Security { closed: Some(Failure(message.into())), ..Security::default() }
            }
        }
    }
}

impl SecurityPolicies<'_> {
    /// Headers, by listener, that policies put identities into. A client could else name itself wherever authentication is optional or
    /// absent. `merged` are those of policies that are merged, of which a part alone may name none.
    pub(crate) fn identity_headers(
        &self,
        reach: &Reach<'_, '_>,
        merged: impl Iterator<Item = (ListenerId, HeaderName)>,
    ) -> BTreeMap<ListenerId, Vec<HeaderName>> {
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
        for (listener, header) in merged {
            headers.entry(listener).or_default().push(header);
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
        let origins = Origins {
            api_keys: own,
            users: own,
            providers: own,
            server: own,
            extension: &|_| own,
            client_id: own,
            client_secret: own,
            login_servers: own,
            denied_model: policy.meta.annotation(DENIED_MODEL_ANNOTATION),
        };
        let settings = read(index, policy, &policy.spec, &origins)?;
        check_targets(policy, &settings)?;
        Ok(SecuritySettings { origins: origins::of_policies([policy]).into(), ..settings })
    }

    fn read_merged(
        index: &Index<'_>,
        policy: &SecurityPolicy,
        parent: &SecurityPolicy,
        merge_type: MergeType,
    ) -> Result<Self::Settings, Problem> {
        let of = |is_own: bool| if is_own { &*policy.meta.namespace } else { &*parent.meta.namespace };
        let own_auth = policy.spec.ext_auth.as_ref();
        let has_extension = |name: &str| own_auth.is_some_and(|it| it.context_extensions.iter().any(|own| own.name == name));
        let origins = Origins {
            api_keys: of(policy.spec.api_key_auth.as_ref().is_some_and(|it| !it.credential_refs.is_empty())),
            users: of(policy.spec.basic_auth.is_some()),
            providers: of(policy.spec.jwt.as_ref().is_some_and(|it| !it.providers.is_empty())),
            server: of(own_auth.is_some_and(ExtAuth::names_backends)),
            extension: &|name| of(has_extension(name)),
            client_id: of(policy.spec.oidc.as_ref().is_some_and(|it| it.client_id_ref.is_some())),
            client_secret: of(policy.spec.oidc.is_some()),
            login_servers: of(policy.spec.oidc.as_ref().is_some_and(|it| !it.provider.backend_refs.is_empty())),
            denied_model: [policy, parent].into_iter().find_map(|it| it.meta.annotation(DENIED_MODEL_ANNOTATION)),
        };
        let mut merged = policy.spec.over(&parent.spec, merge_type);
        if let (Some(merged), Some(own)) = (&mut merged.ext_auth, own_auth.filter(|own| own.names_backends())) {
            merged.take_backends(own);
        }
        let settings = read(index, policy, &merged, &origins)?;
        check_targets(policy, &settings)?;
        Ok(SecuritySettings { origins: origins::of_policies([parent, policy]).into(), ..settings })
    }

    fn needs_session_key(&self) -> bool {
        self.oidc.is_some()
    }

    fn problems(settings: &Self::Settings) -> Vec<Problem> {
        settings.problem.iter().cloned().collect()
    }

    /// Rules look at the place of an address, and a Gateway has no database of it.
    fn problems_on(settings: &Self::Settings, reach: &Reach<'_, '_>, listeners: &[ListenerId]) -> Vec<Problem> {
        let needs = settings.filters.iter().find_map(|filter| match filter {
            HttpFilter::Authorization(rules) => Some(rules.geo_needs),
            _ => None,
        });
        let Some(needs) = needs.filter(|needs| needs.any()) else { return Vec::new() };
        listeners
            .iter()
            .find_map(|listener| geo_location::missing(needs, reach.gateways[*listener].geo.as_deref()))
            .into_iter()
            .collect()
    }

    fn deprecated(&self) -> Vec<(&'static str, &'static str)> {
        deprecated::of_security(self)
    }

    /// Fields that tune, or of which the server would get nothing from Envoy either. A policy with others that cannot be enforced is
    /// refused.
    fn unenforced(policy: &SecurityPolicy, _reach: &Reach<'_, '_>) -> Vec<&'static str> {
        const SERVED: &str =
            "backendSettings beside loadBalancer, healthCheck, tcpKeepalive, proxyProtocol, timeout.tcp, dns, http2";
        let auth = policy.spec.ext_auth.as_ref();
        let by_http = auth.filter(|auth| auth.http.is_some());
        let of_server = |settings: Option<&BackendSettings>| settings.is_some_and(BackendSettings::is_unsupported);
        let mut sets = policy.spec.jwt.iter().flat_map(|jwt| &jwt.providers).filter_map(|it| it.remote_jwks.as_ref());
        let login = policy.spec.oidc.as_ref().and_then(|oidc| oidc.provider.backend_settings.as_ref());
        let fields = [
            (
                by_http.is_some_and(|auth| !auth.context_extensions.is_empty()),
                "extAuth.contextExtensions (servers of HTTP get none)",
            ),
            (
                by_http.is_some_and(|auth| auth.include_route_metadata.unwrap_or(false)),
                "extAuth.includeRouteMetadata (servers of HTTP get none)",
            ),
            (
                auth.is_some_and(|auth| auth.servers().any(|(_, server)| of_server(server.settings)))
                    || sets.any(|set| of_server(set.backend_settings.as_ref())),
                SERVED,
            ),
            (
                login.is_some_and(BackendSettings::is_unsupported),
                "oidc.provider.backendSettings beside loadBalancer, healthCheck, tcpKeepalive, proxyProtocol, timeout.tcp, dns, http2",
            ),
        ];
        fields.into_iter().filter_map(|(is_set, path)| is_set.then_some(path)).collect()
    }
}

/// Origin of a policy's parts: namespaces of references, that of the policy, of two that are merged, which has the field.
struct Origins<'p> {
    api_keys: &'p str,
    users: &'p str,
    providers: &'p str,
    server: &'p str,
    /// Of an `extAuth.contextExtensions` item by name.
    extension: &'p dyn Fn(&str) -> &'p str,
    client_id: &'p str,
    client_secret: &'p str,
    login_servers: &'p str,
    /// Value of the annotation.
    denied_model: Option<&'p str>,
}

fn read(
    index: &Index<'_>,
    policy: &SecurityPolicy,
    spec: &SecurityPolicySpec,
    origins: &Origins<'_>,
) -> Result<SecuritySettings, Problem> {
    if let Some(errors) = &spec.undecodable {
        return Err(Problem::accepted("Invalid", format!("does not decode: {errors}")));
    }
    let (mut filters, mut identity_headers) = (Vec::new(), Vec::new());
    if let Some(spec) = &spec.cors {
        filters.push(HttpFilter::Cors(Arc::new(cors::of_policy(spec)?)));
    }
    if let Some(spec) = &spec.csrf {
        let (settings, shadow) = csrf::read(spec)?;
        filters.push(HttpFilter::Csrf(Arc::new(CsrfFilter { settings, shadow })));
    }
    let (mut ext_auth, mut problem) = (None, None);
    if let Some(spec) = &spec.ext_auth {
        let namespaces = ext_auth::Namespaces { server: origins.server, extension: origins.extension };
        match ext_auth::read(index, spec, &namespaces) {
            Ok(auth) => {
                identity_headers.extend(auth.identity_headers().cloned());
                ext_auth = Some(Arc::new(auth));
            }
            Err(broken) if spec.fail_open.unwrap_or(false) => {
                let message = format!("{}: requests pass without it, as failOpen is set", broken.message);
                problem = Some(Problem { message, ..broken });
                // Nobody sets them now, least of all the client.
                identity_headers.extend(ext_auth::intended_identity_headers(spec));
            }
            Err(broken) => return Err(broken),
        }
    }
    if let Some(spec) = &spec.api_key_auth {
        let settings = api_key_auth::read(&Secrets::new(index, origins.api_keys), spec)?;
        identity_headers.extend(settings.client_id_header.clone());
        filters.push(HttpFilter::ApiKeyAuth(Arc::new(settings)));
    }
    if let Some(spec) = &spec.basic_auth {
        let settings = basic_auth::read(&Secrets::new(index, origins.users), spec)?;
        identity_headers.extend(settings.username_header.clone());
        filters.push(HttpFilter::BasicAuth(Arc::new(settings)));
    }
    let tokens = spec.jwt.as_ref().map(|spec| jwt::read(&Secrets::new(index, origins.providers), spec)).transpose()?;
    let (tokens, documents) = tokens.unzip();
    let rules = spec.authorization.as_ref().map(|spec| authorization::read(spec, tokens.as_ref())).transpose()?;
    let oidc = spec.oidc.as_ref().map(|spec| {
        let Origins { client_id, client_secret, login_servers: servers, .. } = *origins;
        let policy = &policy.meta;
        oidc::read(&oidc::Context { index, policy, client_id, client_secret, servers, tokens: tokens.as_ref() }, spec)
    });
    let oidc = oidc.transpose()?.map(Arc::new);
    identity_headers.extend(oidc.iter().filter_map(|oidc| oidc.identity_header()));
    if let Some(settings) = tokens {
        let claims = settings.providers.iter().flat_map(|provider| &*provider.claim_headers);
        identity_headers.extend(claims.map(|it| it.header.clone()));
        filters.push(HttpFilter::Jwt(Arc::new(settings)));
    }
    let denied_model = authorization::denied_model(origins.denied_model)?;
    let rules = rules.map(|rules| AuthorizationFilter { denied_model, ..AuthorizationFilter::new(rules) });
    filters.extend(rules.map(|rules| HttpFilter::Authorization(Arc::new(rules))));
    let documents = documents.unwrap_or_default().into();
    let (filters, identity_headers) = (filters.into(), identity_headers.into());
    Ok(SecuritySettings { filters, ext_auth, oidc, documents, identity_headers, problem, origins: Arc::default() })
}
