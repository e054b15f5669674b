//! `extAuth` of a SecurityPolicy.

use std::{collections::BTreeSet, sync::Arc};

use http::{HeaderName, StatusCode, uri::PathAndQuery};
use pailou_api::{
    envoy::{
        ENVOY_GROUP,
        ext_auth::{ContextExtension, ContextExtensionType, ExtAuth as Spec, ExtAuthServer, HttpExtAuth},
    },
    refs::BackendRef,
};
use pailou_snapshot::{AuthPath, AuthProtocol, AuthSettings, ContextExtensions, HiddenText};

use crate::{grants::Referrer, headers::header_name, index::Index, server_path::prefix, servers, status::Problem};

use super::super::{server_settings, traffic::Traffic, values::invalid};
use super::{identity_header::has_another_meaning, secrets::Secrets};

/// Most backends of a server.
const MAX_BACKENDS: usize = 16;

/// An authorization server, before its backends are resolved for a rule.
#[derive(Debug)]
pub(crate) struct PolicyAuth {
    /// Path of the server in the policy.
    pub(crate) field: String,
    /// Namespace of the policy that names the backends.
    namespace: String,
    pub(crate) refs: Vec<BackendRef>,
    /// Settings of its clusters.
    pub(crate) traffic: Traffic,
    /// Whether it gets the route.
    pub(crate) gets_route: bool,
    pub(crate) settings: Arc<AuthSettings>,
}

/// Namespaces of references.
pub(super) struct Namespaces<'p> {
    /// Of the backends.
    pub(super) server: &'p str,
    /// Of the text with this name.
    pub(super) extension: &'p dyn Fn(&str) -> &'p str,
}

/// Reads the settings.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(super) fn read(index: &Index<'_>, spec: &Spec, namespaces: &Namespaces<'_>) -> Result<PolicyAuth, Problem> {
    let mut servers = spec.servers();
    let (Some((name, server)), None) = (servers.next(), servers.next()) else {
        return Err(invalid("extAuth: set one of grpc and http"));
    };
    let field = format!("extAuth.{name}");
    let namespace = namespaces.server.to_owned();
    let refs = backends(index, &field, &server, &namespace)?;
    let traffic = server_settings::read(index, &field, server.settings)?;
    let settings = AuthSettings {
        protocol: protocol(index, spec, namespaces)?,
        max_body: match spec.body_to_ext_auth {
            None => 0,
            Some(body) if body.max_request_bytes == 0 => {
                return Err(invalid("extAuth.bodyToExtAuth.maxRequestBytes: write 1 or more"));
            }
            Some(body) => body.max_request_bytes.into(),
        },
        timeout: match spec.timeout.map(|timeout| timeout.as_std()) {
            None => AuthSettings::DEFAULT_TIMEOUT,
            Some(timeout) if timeout.is_zero() => return Err(invalid("extAuth.timeout: write more than 0s")),
            Some(timeout) => timeout,
        },
        connect_timeout: traffic.rule().timeouts.connect,
        fail_open: spec.fail_open.unwrap_or(false),
        recompute_route: spec.recompute_route.unwrap_or(false),
        status_on_error: spec.status_on_error.map_or(Ok(StatusCode::FORBIDDEN), status)?,
    };
    let gets_route = spec.grpc.is_some() && spec.include_route_metadata.unwrap_or(false);
    Ok(PolicyAuth { field, namespace, refs, traffic, gets_route, settings: Arc::new(settings) })
}

impl PolicyAuth {
    /// The policy, as one that refers to others.
    pub(crate) fn referrer(&self) -> Referrer<'_> {
        referrer(&self.namespace)
    }

    /// Headers that the server puts an identity into. Those that it gets from the client are not among them: it may change what it was
    /// sent.
    pub(super) fn identity_headers(&self) -> impl Iterator<Item = &HeaderName> {
        let (sent, named): (&[HeaderName], &[HeaderName]) = match &self.settings.protocol {
            AuthProtocol::Http { request_headers, response_headers: Some(named), .. } => (request_headers, named),
            _ => (&[], &[]),
        };
        bears_identity(sent, named).into_iter()
    }
}

/// Headers that a server would put an identity into, as far as the settings can be read: they may be broken elsewhere.
pub(super) fn intended_identity_headers(spec: &Spec) -> Vec<HeaderName> {
    let names = |names: &[String]| -> Vec<HeaderName> { names.iter().filter_map(|name| header_name(name).ok()).collect() };
    let named = spec.http.as_ref().map(|http| names(&http.headers_to_backend)).unwrap_or_default();
    bears_identity(&names(&spec.headers_to_ext_auth), &named).into_iter().cloned().collect()
}

fn bears_identity<'n>(sent: &[HeaderName], named: &'n [HeaderName]) -> Vec<&'n HeaderName> {
    named.iter().filter(|name| !sent.contains(name) && !has_another_meaning(name)).collect()
}

fn referrer(namespace: &str) -> Referrer<'_> {
    Referrer { group: ENVOY_GROUP, kind: "SecurityPolicy", namespace }
}

/// The backends, of which each is there and may be referred to.
fn backends(index: &Index<'_>, field: &str, server: &ExtAuthServer<'_>, namespace: &str) -> Result<Vec<BackendRef>, Problem> {
    let refs = server.weighted();
    let count = refs.len();
    if !(1..=MAX_BACKENDS).contains(&count) {
        return Err(invalid(&format!("{field}.backendRefs: {count} backends, but 1 to {MAX_BACKENDS} are needed")));
    }
    for (place, to) in refs.iter().enumerate() {
        let found = servers::check(index, referrer(namespace), &to.target());
        found.map_err(|problem| invalid(&format!("{field}.backendRefs[{place}]: {}", problem.message)))?;
    }
    Ok(refs)
}

fn protocol(index: &Index<'_>, spec: &Spec, namespaces: &Namespaces<'_>) -> Result<AuthProtocol, Problem> {
    let request_headers = headers("headersToExtAuth", &spec.headers_to_ext_auth)?;
    match &spec.http {
        None => Ok(AuthProtocol::Grpc {
            request_headers: (!request_headers.is_empty()).then_some(request_headers),
            context_extensions: extensions(index, &spec.context_extensions, namespaces)?,
        }),
        Some(http) => Ok(AuthProtocol::Http {
            path: path(http)?,
            request_headers,
            response_headers: Some(headers("http.headersToBackend", &http.headers_to_backend)?),
        }),
    }
}

fn path(http: &HttpExtAuth) -> Result<AuthPath, Problem> {
    match (http.path.as_deref(), http.path_override.as_deref()) {
        (Some(_), Some(_)) => Err(invalid("extAuth.http: set one of path and pathOverride")),
        (path, None) => {
            let prefix = prefix(path.unwrap_or_default()).map_err(|problem| invalid(&format!("extAuth.{}", problem.message)))?;
            Ok(AuthPath::Prefix(prefix))
        }
        (None, Some(path)) => {
            let is_path = path.starts_with('/') && PathAndQuery::try_from(path).is_ok_and(|parsed| parsed.as_str() == path);
            if !is_path {
                return Err(invalid(&format!("extAuth.http.pathOverride: {path:?} is no path; it begins with a slash")));
            }
            Ok(AuthPath::Fixed(path.into()))
        }
    }
}

fn headers(field: &str, names: &[String]) -> Result<Box<[HeaderName]>, Problem> {
    let name = |name: &String| header_name(name).map_err(|problem| invalid(&format!("extAuth.{field}: {}", problem.message)));
    names.iter().map(name).collect()
}

fn status(code: u16) -> Result<StatusCode, Problem> {
    let status = StatusCode::from_u16(code).ok().filter(|status| status.is_client_error() || status.is_server_error());
    status.ok_or_else(|| invalid(&format!("extAuth.statusOnError: {code} is no status of an error (400 to 599)")))
}

fn extensions(index: &Index<'_>, specs: &[ContextExtension], namespaces: &Namespaces<'_>) -> Result<ContextExtensions, Problem> {
    let mut names = BTreeSet::new();
    if let Some(at) = specs.iter().position(|spec| spec.name.is_empty() || !names.insert(&*spec.name)) {
        return Err(invalid(&format!("extAuth.contextExtensions[{at}].name: write a name that no other has")));
    }
    let read = |(at, spec): (usize, &ContextExtension)| {
        let field = format!("extAuth.contextExtensions[{at}]");
        let text = match (spec.kind, &spec.value, &spec.value_ref) {
            (ContextExtensionType::Value, Some(value), None) => HiddenText::new(value),
            (ContextExtensionType::ValueRef, None, Some(to)) => {
                Secrets::new(index, (namespaces.extension)(&spec.name)).text(&format!("{field}.valueRef"), to)?
            }
            (ContextExtensionType::Value, ..) => {
                return Err(invalid(&format!("{field}: type Value needs value, and no valueRef")));
            }
            (ContextExtensionType::ValueRef, ..) => {
                return Err(invalid(&format!("{field}: type ValueRef needs valueRef, and no value")));
            }
        };
        Ok((spec.name.as_str().into(), text))
    };
    specs.iter().enumerate().map(read).collect()
}
