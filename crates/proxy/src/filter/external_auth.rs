//! External authorization: a server decides whether a request may pass. Listeners ask before matching, rules after.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Limited};
use pailou_ai::Pieces;
use pailou_authz::{Allowed, AuthorizationRequest, Decision, grpc, plain};
use pailou_envoy_proto::{ext_proc::HeaderMutation, header_mutation};
use pailou_snapshot::{AuthProtocol, ClusterKey, ExternalAuth, Timeouts};
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

/// Time for an answer.
const AUTHORIZATION_TIMEOUT: Duration = Duration::from_secs(10);
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
    #[error("it did not answer within {} s", AUTHORIZATION_TIMEOUT.as_secs())]
    Late,
}

/// Asks a server about a request as the filters before have left it. Gives back the body, read if the server gets it.
///
/// # Errors
/// The server's refusal; 503 if it gives no answer or decides nothing; 500 if the gateway cannot ask it; 413 if the body is
/// longer than the server may get.
pub(super) async fn request(
    server: &ExternalAuth,
    stage: &Stage<'_>,
    head: &mut Head,
    mut input: RequestInput,
    mutations: &mut Vec<HeaderMutation>,
) -> Result<RequestInput, Error> {
    if server.max_body > 0 {
        let bounds = Bounds { bytes: server.max_body.min(stage.bounds.bytes), ..stage.bounds };
        input = input.read_all(head, &stage.connection.worker.context, &bounds).await?;
    }
    let body = input.call().filter(|_| server.max_body > 0).map(|call| &call.bytes);
    let key = server.cluster.as_ref().map_err(|failure| Error::misconfigured(&failure.0))?;
    let decided = timeout(AUTHORIZATION_TIMEOUT, check(server, stage, key, head, body)).await;
    match decided.unwrap_or(Err(CheckError::Late)).map_err(|error| unavailable(key, &error))? {
        Decision::Denied(denial) => Err(Error::denied(*denial, &key.endpoints)),
        Decision::Allowed(allowed) => {
            change(&allowed, head, mutations).map_err(|error| unavailable(key, &error))?;
            Ok(input)
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
    let request = match &server.protocol {
        AuthProtocol::Http { prefix, request_headers, .. } => plain::request(&request, prefix, request_headers)?,
        AuthProtocol::Grpc { request_headers } => grpc::request(&request, request_headers.as_deref()),
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
    let (exchange, ()) = subrequest::send(cluster, stage.connection, &Timeouts::default(), made).await?;
    let (answer, body) = exchange.response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(CheckError::Body)?;
    let trailers = body.trailers().cloned();
    let body = body.to_bytes();
    Ok(match &server.protocol {
        AuthProtocol::Http { response_headers, .. } => plain::decision(answer, body, response_headers.as_deref())?,
        AuthProtocol::Grpc { .. } => grpc::decision(&answer, &body, trailers.as_ref())?,
    })
}

fn change(allowed: &Allowed, head: &mut Head, mutations: &mut Vec<HeaderMutation>) -> Result<(), CheckError> {
    allowed.apply(&mut head.parts.headers);
    if let Some(path) = head.parts.uri.path_and_query().map(|path| allowed.path(path)).transpose()?.flatten() {
        head.parts.uri = path.into();
    }
    mutations.extend(allowed.response_headers());
    Ok(())
}

fn unavailable(key: &ClusterKey, error: &CheckError) -> Error {
    let refused = Error::new(Flag::Forbidden, "whether this request is allowed cannot be found out; try again");
    let detail = format!("the authorization server {}: {error}", key.endpoints);
    Error { status: StatusCode::SERVICE_UNAVAILABLE, ..refused.with_detail(detail) }
}
