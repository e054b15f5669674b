//! Authorization servers, asked whether a request may pass: a listener's before anything is matched, a rule's before it goes on.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header, uri::PathAndQuery};
use http_body_util::{BodyExt, Limited};
use pailou_ai::Pieces;
use pailou_authz::{Allowed, AuthorizationRequest, Decision, grpc, plain};
use pailou_envoy_proto::{ext_proc::HeaderMutation, header_mutation};
use pailou_snapshot::{AuthProtocol, ClusterKey, ExternalAuth, Timeouts};
use tokio::time::timeout;

use super::{
    body::{Bounds, RequestInput},
    head::Head,
    misconfigured,
    subrequest::{self, SubrequestError},
};
use crate::{
    body::RequestBody,
    error::{Error, Flag},
    filter::headers,
    runtime::Runtime,
    server::Connection,
};

/// How long an authorization server may take.
const AUTHORIZATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer of one, in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Stage of a request, as far as authorization servers see it.
pub(super) struct Gate<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) connection: &'a Connection,
    pub(super) bounds: Bounds,
}

/// Changes to the response that consenting servers ask for.
#[derive(Debug, Default)]
pub(super) struct Consents(Vec<HeaderMutation>);

/// Why an authorization server's word is not to be had.
#[derive(Debug, thiserror::Error)]
enum Unheard {
    #[error(transparent)]
    SubrequestError(#[from] SubrequestError),
    #[error(transparent)]
    Failure(#[from] pailou_authz::Failure),
    #[error("its answer broke off, or is longer than {MAX_ANSWER} bytes: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("it did not answer within {} s", AUTHORIZATION_TIMEOUT.as_secs())]
    Late,
}

impl Consents {
    /// Does to a response what they want.
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        self.0.iter().for_each(|consent| header_mutation::apply(consent, headers));
    }
}

impl Gate<'_> {
    /// Asks one after the other, each about the request as the one before has left it. Gives back the body, read where one is told it.
    ///
    /// # Errors
    /// The answer of a server that refuses; 503 if a server does not answer, or decides nothing; 500 if one cannot be
    /// asked; 413 where the body is longer than one may be told.
    pub(super) async fn pass(
        &self,
        servers: &[ExternalAuth],
        head: &mut Head,
        input: RequestInput,
        consents: &mut Consents,
    ) -> Result<RequestInput, Error> {
        if servers.is_empty() {
            return Ok(input);
        }
        // Few requests are asked about, and all would bear the room for it.
        Box::pin(self.pass_all(servers, head, input, consents)).await
    }

    async fn pass_all(
        &self,
        servers: &[ExternalAuth],
        head: &mut Head,
        mut input: RequestInput,
        consents: &mut Consents,
    ) -> Result<RequestInput, Error> {
        for server in servers {
            if server.max_body > 0 {
                let bounds = Bounds { bytes: server.max_body.min(self.bounds.bytes), ..self.bounds };
                input = input.read_all(head, &self.connection.worker.context, &bounds).await?;
            }
            let body = input.call().filter(|_| server.max_body > 0).map(|call| &call.bytes);
            let key = server.cluster.as_ref().map_err(|failure| misconfigured(&failure.0))?;
            let decided = timeout(AUTHORIZATION_TIMEOUT, self.ask(server, key, head, body)).await.unwrap_or(Err(Unheard::Late));
            match decided.map_err(|error| unheard(key, &error))? {
                Decision::Denied(denial) => return Err(Error::denied(*denial, &key.endpoints)),
                Decision::Allowed(allowed) => self.change(&allowed, head, consents).map_err(|error| unheard(key, &error))?,
            }
        }
        Ok(input)
    }

    async fn ask(&self, server: &ExternalAuth, key: &ClusterKey, head: &Head, body: Option<&Bytes>) -> Result<Decision, Unheard> {
        let cluster: &Arc<_> = self.runtime.find(key).ok_or(SubrequestError::NoEndpoint)?;
        let slash = PathAndQuery::from_static("/");
        let request = AuthorizationRequest {
            peer: self.connection.peer,
            local: self.connection.local,
            tls: self.connection.tls.is_some(),
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
        let (exchange, ()) = subrequest::send(cluster, self.connection, &Timeouts::default(), made).await?;
        let (answer, body) = exchange.response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(Unheard::Body)?;
        let trailers = body.trailers().cloned();
        let body = body.to_bytes();
        Ok(match &server.protocol {
            AuthProtocol::Http { response_headers, .. } => plain::decision(answer, body, response_headers.as_deref())?,
            AuthProtocol::Grpc { .. } => grpc::decision(&answer, &body, trailers.as_ref())?,
        })
    }

    fn change(&self, allowed: &Allowed, head: &mut Head, consents: &mut Consents) -> Result<(), Unheard> {
        allowed.apply(&mut head.parts.headers);
        if let Some(path) = head.parts.uri.path_and_query().map(|path| allowed.path(path)).transpose()?.flatten() {
            head.parts.uri = path.into();
        }
        consents.0.extend(allowed.response_headers());
        Ok(())
    }
}

fn unheard(key: &ClusterKey, error: &Unheard) -> Error {
    let refused = Error::new(Flag::Forbidden, "whether this request is allowed cannot be found out; try again");
    let detail = format!("the authorization server {}: {error}", key.endpoints);
    Error { status: StatusCode::SERVICE_UNAVAILABLE, ..refused.with_detail(detail) }
}
