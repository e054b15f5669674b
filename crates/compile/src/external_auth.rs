//! Authorization servers, of rules and of listeners.

use std::sync::Arc;

use crate::status::Problem;
use pailou_api::{
    external_auth::{ExternalAuth as Spec, ExternalAuthProtocol},
    names,
};
use pailou_snapshot::{AuthProtocol, Cluster, ExternalAuth, Failure, HttpFilter};

use super::{
    clusters::Clusters,
    gateway::Gateways,
    grants::Referrer,
    headers::header_name,
    index::Index,
    resolver::{Load, Resolver},
    rule_context::RuleContext,
};

/// An authorization server that a rule names. Where it cannot be had, that is a problem of the route, and nothing passes the rule.
pub(crate) fn of_rule(context: &mut RuleContext<'_, '_, '_>, place: usize, spec: &Spec) -> Result<ExternalAuth, Problem> {
    let field = format!("{}.filters[{place}].externalAuth", context.field);
    let protocol = protocol(spec).map_err(|problem| Problem { message: format!("{field}.{}", problem.message), ..problem })?;
    let cluster = context.authorizer(&spec.backend_ref, load(spec)).map_err(|problem| {
        let failure = Failure(problem.message.as_str().into());
        context.problem(Problem { message: format!("{field}.backendRef: {}", problem.message), ..problem });
        failure
    });
    Ok(ExternalAuth { cluster, protocol, max_body: spec.forward_body.max_size.into() })
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
    let auth = ExternalAuth { cluster: Ok(cluster.key.clone()), protocol, max_body: spec.forward_body.max_size.into() };
    Ok((auth, cluster))
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
                prefix: prefix(&http.path)?,
                request_headers: headers(&http.allowed_headers)?,
                response_headers: (!allowed.is_empty()).then_some(allowed),
            }
        }
        ExternalAuthProtocol::Grpc => {
            let allowed = headers(spec.grpc.as_ref().map(|grpc| &*grpc.allowed_headers).unwrap_or_default())?;
            AuthProtocol::Grpc { request_headers: (!allowed.is_empty()).then_some(allowed) }
        }
    })
}

fn headers(names: &[names::HeaderName]) -> Result<Box<[http::HeaderName]>, Problem> {
    names.iter().map(|name| header_name(name)).collect()
}

/// A prefix without the slash at its end. It must not lead out of itself.
fn prefix(path: &str) -> Result<Box<str>, Problem> {
    let wrong = |what: &str| Err(Problem::accepted("UnsupportedValue", format!("http.path: {path:?} {what}")));
    let path = path.trim_end_matches('/');
    let climbs = |segment: &str| matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | "..");
    if path.is_empty() {
        return Ok("".into());
    }
    if !path.starts_with('/') {
        return wrong("has to begin with a slash");
    }
    if path.contains("//") || path.split('/').any(climbs) {
        return wrong("must have no empty element, and none of dots alone");
    }
    if http::uri::PathAndQuery::try_from(path).ok().is_none_or(|parsed| parsed.as_str() != path || parsed.query().is_some()) {
        return wrong("is no path");
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_path_that_does_not_lead_out_of_itself() {
        for (path, expected) in [("", Some("")), ("/", Some("")), ("/check", Some("/check")), ("/a/b/", Some("/a/b"))] {
            assert_eq!(prefix(path).ok().as_deref(), expected, "{path}");
        }
        for path in ["check", "/a/../b", "/a//b", "/%2E%2e/b", "/a?b", "/a b", "/a/."] {
            assert!(prefix(path).is_err(), "{path}");
        }
    }
}
