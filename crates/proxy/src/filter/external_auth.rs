//! External authorization: a server decides whether a request may pass. Listeners ask before matching, rules after.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Limited};
use pailou_ai::Pieces;
use pailou_authz::{
    Allowed, AuthorizationRequest, Decision,
    grpc::{self, ConfiguredContext},
    is_open,
    plain::{self, ServerPath},
};
use pailou_envoy_proto::{
    core::Metadata,
    ext_proc::HeaderMutation,
    header_mutation,
    structs::{Kind, ListValue, Struct, Value, string, structure},
};
use pailou_snapshot::{AuthPath, AuthProtocol, AuthSettings, ClusterKey, ExternalAuth, RouteMetadata, Timeouts};
use tokio::time::timeout;

use super::Stage;
use crate::{
    error::{Error, Flag},
    headers,
    request_body::RequestBody,
    request_head::Head,
    request_input::{Bounds, RequestInput},
    subrequest::{self, SubrequestError},
};

/// Envoy Gateway's namespace of a route's metadata.
const ROUTE_NAMESPACE: &str = "envoy-gateway";
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Reasons for which there is no decision.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    SubrequestError(#[from] SubrequestError),
    #[error(transparent)]
    Failure(#[from] pailou_authz::Failure),
    #[error("its answer broke off, or is longer than {MAX_ANSWER} bytes: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("it did not answer within {} ms", .0.as_millis())]
    Late(Duration),
}

/// A request that may go on.
pub(super) struct AskedRequest {
    /// The body, read if the server got it.
    pub(super) input: RequestInput,
    /// The server consents. Else it decides nothing, and requests pass without it.
    pub(super) is_allowed: bool,
}

/// Asks a server about a request as the filters before have left it.
///
/// # Errors
/// The server's refusal; the configured status if it gives no answer or decides nothing, and requests do not pass without; 500 if the
/// gateway cannot ask it; 413 if the body is longer than the server may get.
pub(super) async fn request(
    server: &ExternalAuth,
    stage: &Stage<'_>,
    head: &mut Head,
    mut input: RequestInput,
    mutations: &mut Vec<HeaderMutation>,
) -> Result<AskedRequest, Error> {
    let settings = &*server.settings;
    if settings.max_body > 0 {
        let bounds = Bounds { bytes: settings.max_body.min(stage.bounds.bytes), ..stage.bounds };
        input = input.read_all(head, &stage.connection.worker.context, &bounds).await?;
    }
    let body = input.call().filter(|_| settings.max_body > 0).map(|call| &call.bytes);
    let backends = server.backends.as_ref().map_err(|failure| Error::misconfigured(&failure.0))?;
    let key = subrequest::choose(backends).ok_or_else(|| Error::misconfigured("the authorization server has no backend"))?;
    let decided = timeout(settings.timeout, check(server, stage, key, head, body)).await;
    let decided = decided.unwrap_or(Err(CheckError::Late(settings.timeout)));
    let changed = decided.and_then(|decision| match decision {
        Decision::Denied(denial) => Ok(Err(Error::denied(*denial, &key.endpoints))),
        Decision::Allowed(allowed) => change(&allowed, head, mutations).map(Ok),
    });
    match changed {
        Ok(decided) => decided.map(|()| AskedRequest { input, is_allowed: true }),
        // The client can make a path too long: that must not open what a server guards.
        Err(CheckError::Failure(pailou_authz::Failure::Query)) => {
            let error = Error::new(Flag::BadRequest, "the path and query are too long for the authorization server");
            Err(Error { status: http::StatusCode::URI_TOO_LONG, ..error })
        }
        Err(_) if settings.fail_open => {
            remove_own_headers(settings, head);
            Ok(AskedRequest { input, is_allowed: false })
        }
        Err(error) => Err(unavailable(settings, key, &error)),
    }
}

/// Removes a client's own headers of the names that the server's consent would have set.
fn remove_own_headers(settings: &AuthSettings, head: &mut Head) {
    if let AuthProtocol::Http { response_headers: Some(names), .. } = &settings.protocol {
        for name in names.iter().filter(|name| is_open(name.as_str())) {
            head.parts.headers.remove(name);
        }
    }
}

/// Applies the changes that servers asked for.
pub(super) fn response(mutations: &[HeaderMutation], headers: &mut HeaderMap) {
    mutations.iter().for_each(|mutation| header_mutation::apply(mutation, headers));
}

async fn check(
    server: &ExternalAuth,
    stage: &Stage<'_>,
    key: &ClusterKey,
    head: &Head,
    body: Option<&Bytes>,
) -> Result<Decision, CheckError> {
    let cluster: &Arc<_> = stage.runtime.find(key).ok_or(SubrequestError::NoEndpoint)?;
    let slash = PathAndQuery::from_static("/");
    let request = AuthorizationRequest {
        peer: stage.connection.peer,
        local: stage.connection.local,
        tls: stage.connection.tls.is_some(),
        method: &head.parts.method,
        path: head.parts.uri.path_and_query().unwrap_or(&slash),
        authority: &head.authority,
        version: head.parts.version,
        headers: &head.parts.headers,
        id: head.text(&headers::REQUEST_ID).unwrap_or_default(),
        body,
    };
    let request = match &server.settings.protocol {
        AuthProtocol::Http { path, request_headers, .. } => {
            let path = match path {
                AuthPath::Prefix(prefix) => ServerPath::Prefix(prefix),
                AuthPath::Fixed(path) => ServerPath::Fixed(path),
            };
            plain::request(&request, path, request_headers)?
        }
        AuthProtocol::Grpc { request_headers, context_extensions } => {
            let extensions = context_extensions.iter().map(|(name, text)| (name.to_string(), text.expose().to_owned()));
            let route = server.route.as_deref().map(route_metadata);
            grpc::request(&request, request_headers.as_deref(), ConfiguredContext { extensions: extensions.collect(), route })
        }
    };
    let made = |address: &_| {
        let mut request = request.clone().map(|body| RequestBody::held(Pieces::from(body)));
        if !request.headers().contains_key(header::HOST)
            && let Ok(host) = HeaderValue::from_str(&subrequest::host(key, address))
        {
            request.headers_mut().insert(header::HOST, host);
        }
        (request, ())
    };
    let timeouts = Timeouts { connect: server.settings.connect_timeout, ..Timeouts::default() };
    let (exchange, ()) = subrequest::send(cluster, stage.connection, &timeouts, made).await?;
    let (answer, body) = exchange.response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(CheckError::Body)?;
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    Ok(match &server.settings.protocol {
        AuthProtocol::Http { response_headers, .. } => plain::decision(answer, body, response_headers.as_deref())?,
        AuthProtocol::Grpc { .. } => grpc::decision(&answer, &body, trailers.as_ref())?,
    })
}

fn change(allowed: &Allowed, head: &mut Head, mutations: &mut Vec<HeaderMutation>) -> Result<(), CheckError> {
    let path = head.parts.uri.path_and_query().map(|path| allowed.path(path)).transpose()?.flatten();
    allowed.apply(&mut head.parts.headers);
    if let Some(path) = path {
        head.set_path(path);
    }
    mutations.extend(allowed.response_headers());
    Ok(())
}

/// The route in Envoy Gateway's form.
fn route_metadata(of: &RouteMetadata) -> Metadata {
    let mut fields = vec![("kind", of.route.kind.name()), ("namespace", &of.route.name.namespace), ("name", &of.route.name.name)];
    fields.extend(of.route.rule_name.as_deref().map(|name| ("sectionName", name)));
    let mut resource = Struct { fields: fields.into_iter().map(|(key, text)| (key.to_owned(), string(text))).collect() };
    if !of.annotations.is_empty() {
        let annotations = of.annotations.iter().map(|(key, text)| (key.to_string(), string(&**text))).collect();
        resource.fields.insert("annotations".to_owned(), Value { kind: Some(Kind::StructValue(Struct { fields: annotations })) });
    }
    let resources = ListValue { values: vec![Value { kind: Some(Kind::StructValue(resource)) }] };
    let resources = Value { kind: Some(Kind::ListValue(resources)) };
    Metadata { filter_metadata: HashMap::from([(ROUTE_NAMESPACE.to_owned(), structure("resources", resources))]) }
}

fn unavailable(settings: &AuthSettings, key: &ClusterKey, error: &CheckError) -> Error {
    let refused = Error::new(Flag::Forbidden, "whether this request is allowed cannot be found out; try again");
    let detail = format!("the authorization server {}: {error}", key.endpoints);
    Error { status: settings.status_on_error, ..refused.with_detail(detail) }
}
