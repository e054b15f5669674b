//! Authorization servers, of rules, policies and listeners.

use std::sync::Arc;

use crate::status::Problem;
use http::StatusCode;
use pailou_api::{
    external_auth::{ExternalAuth as Spec, ExternalAuthProtocol},
    names,
};
use pailou_snapshot::{
    AuthPath, AuthProtocol, AuthSettings, Cluster, ClusterKey, ExternalAuth, Failure, HttpFilter, RouteMetadata, Timeouts,
};

use super::{
    clusters::Clusters,
    gateway::Gateways,
    grants::Referrer,
    headers::header_name,
    index::Index,
    policies::security::ext_auth::PolicyAuth,
    resolver::{Load, Resolver},
    rule_context::RuleContext,
    server_path::prefix,
};

/// Prefix of the annotations that a server gets, as in Envoy Gateway.
const ANNOTATIONS: &str = "gateway.envoyproxy.io/";

/// An authorization server that a rule names. Where it cannot be had, that is a problem of the route, and nothing passes the rule.
pub(crate) fn of_rule(context: &mut RuleContext<'_, '_, '_>, place: usize, spec: &Spec) -> Result<ExternalAuth, Problem> {
    let field = format!("{}.filters[{place}].externalAuth", context.field);
    let protocol = protocol(spec).map_err(|problem| Problem { message: format!("{field}.{}", problem.message), ..problem })?;
    let cluster = context.authorizer(&spec.backend_ref, load(spec)).map_err(|problem| {
        let failure = Failure(problem.message.as_str().into());
        context.problem(Problem { message: format!("{field}.backendRef: {}", problem.message), ..problem });
        failure
    });
    Ok(asked(cluster.map(single), protocol, spec))
}

/// Finds the authorization servers that listeners name, before anything is judged by whether a listener is sound. Gives back the
/// clusters, each once.
pub(crate) fn of_listeners<'a>(index: &Index<'a>, gateways: &mut Gateways<'_>, clusters: &mut Clusters<'a>) -> Vec<Arc<Cluster>> {
    let mut found: Vec<Arc<Cluster>> = Vec::new();
    for (id, gateway) in gateways.list.iter_mut() {
        // Most have none, and there may be thousands.
        for listener in gateway.listeners.iter_mut().filter(|it| !it.spec.filters.requests.is_empty()) {
            let mut resolver = Resolver::new(index, clusters);
            resolver.identity = gateway.identity.clone();
            for (at, filter) in listener.spec.filters.requests.iter().enumerate() {
                let Some(spec) = &filter.external_auth else { continue };
                match of_listener(&mut resolver, listener.owner, at, spec) {
                    Ok((auth, cluster)) => {
                        listener.filters.push(HttpFilter::ExternalAuth(Arc::new(auth)));
                        if found.iter().all(|known| known.key != cluster.key) {
                            found.push(cluster);
                        }
                    }
                    Err(problem) => listener.problems.push(problem),
                }
            }
            for policy in resolver.finish().policies {
                clusters.tls.reached(policy, id);
            }
        }
    }
    found
}

fn of_listener(
    resolver: &mut Resolver<'_, '_>,
    owner: Referrer<'_>,
    place: usize,
    spec: &Spec,
) -> Result<(ExternalAuth, Arc<Cluster>), Problem> {
    let field = format!("filters.requests[{place}]: externalAuth");
    let protocol =
        protocol(spec).map_err(|problem| Problem::accepted("InvalidListenerFilter", format!("{field}.{}", problem.message)))?;
    let cluster = resolver.authorizer(owner, &spec.backend_ref, load(spec)).map_err(|problem| {
        let reason = if problem.reason == "RefNotPermitted" { problem.reason } else { "InvalidListenerFilterRef" };
        Problem::refs(reason, format!("{field}.backendRef: {}", problem.message))
    })?;
    let cluster = Arc::new(cluster);
    Ok((asked(Ok(single(cluster.key.clone())), protocol, spec), cluster))
}

/// The authorization server of a SecurityPolicy, for a rule; `None` where requests pass without it.
///
/// # Errors
/// It cannot be had, and no request may pass without it.
pub(crate) fn of_policy(context: &mut RuleContext<'_, '_, '_>, auth: &PolicyAuth) -> Result<Option<ExternalAuth>, Problem> {
    let from = auth.referrer();
    let load = match auth.settings.protocol {
        AuthProtocol::Http { .. } => Load::Http,
        AuthProtocol::Grpc { .. } => Load::Grpc,
    };
    let found = auth.refs.iter().map(|to| {
        let cluster = context.resolver.policy_server(from, &to.target(), load, &auth.traffic)?;
        Ok((to.weight, context.resolver.held(cluster)))
    });
    match found.collect::<Result<Vec<_>, Problem>>() {
        Ok(backends) => {
            let route = auth.gets_route.then(|| Box::new(route_metadata(context)));
            Ok(Some(ExternalAuth { backends: Ok(backends.into()), route, settings: auth.settings.clone() }))
        }
        Err(problem) => {
            let problem = Problem { message: format!("SecurityPolicy: spec.{}: {}", auth.field, problem.message), ..problem };
            if !auth.settings.fail_open {
                return Err(problem);
            }
            context.problem(problem);
            Ok(None)
        }
    }
}

fn route_metadata(context: &RuleContext<'_, '_, '_>) -> RouteMetadata {
    let annotations = &context.route.meta.annotations;
    let own = annotations.iter().filter_map(|(key, value)| Some((key.strip_prefix(ANNOTATIONS)?.into(), value.as_str().into())));
    RouteMetadata { route: context.name.clone(), annotations: own.collect() }
}

/// A server by the settings of Gateway API's filter.
fn asked(backends: Result<Box<[(u32, ClusterKey)]>, Failure>, protocol: AuthProtocol, spec: &Spec) -> ExternalAuth {
    let settings = AuthSettings {
        protocol,
        max_body: spec.forward_body.max_size.into(),
        timeout: AuthSettings::DEFAULT_TIMEOUT,
        connect_timeout: Timeouts::default().connect,
        fail_open: false,
        recompute_route: false,
        // A client that gets 403 may ask for another credential, and none would help.
        status_on_error: StatusCode::SERVICE_UNAVAILABLE,
    };
    ExternalAuth { backends, route: None, settings: Arc::new(settings) }
}

fn single(key: ClusterKey) -> Box<[(u32, ClusterKey)]> {
    Box::new([(1, key)])
}

fn load(spec: &Spec) -> Load {
    match spec.protocol {
        ExternalAuthProtocol::Http => Load::Http,
        ExternalAuthProtocol::Grpc => Load::Grpc,
    }
}

fn protocol(spec: &Spec) -> Result<AuthProtocol, Problem> {
    Ok(match spec.protocol {
        ExternalAuthProtocol::Http => {
            let http = spec.http.clone().unwrap_or_default();
            let allowed = headers(&http.allowed_response_headers)?;
            AuthProtocol::Http {
                path: AuthPath::Prefix(prefix(&http.path)?),
                request_headers: headers(&http.allowed_headers)?,
                response_headers: (!allowed.is_empty()).then_some(allowed),
            }
        }
        ExternalAuthProtocol::Grpc => {
            let allowed = headers(spec.grpc.as_ref().map(|grpc| &*grpc.allowed_headers).unwrap_or_default())?;
            AuthProtocol::Grpc { request_headers: (!allowed.is_empty()).then_some(allowed), context_extensions: Box::default() }
        }
    })
}

fn headers(names: &[names::HeaderName]) -> Result<Box<[http::HeaderName]>, Problem> {
    names.iter().map(|name| header_name(name)).collect()
}
