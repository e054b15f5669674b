//! Asking by gRPC: Envoy's `ext_authz`, one call of `envoy.service.auth.v3.Authorization/Check`.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, header, response::Parts};
use pailou_envoy_proto::{
    core::{Address, Metadata, SocketAddress},
    ext_authz::{
        AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse, Peer, attribute_context,
        check_response::HttpResponse,
    },
    ext_proc::HeaderMutation,
    grpc::{unary_answer, unary_call},
};
use prost::Message;

use crate::{Allowed, AuthorizationRequest, Decision, Failure, changes::open};

const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";
/// gRPC's code of consent.
const OK: i32 = 0;

/// Facts of the configuration that the server gets beside the request.
#[derive(Clone, Default)]
pub struct ConfiguredContext {
    /// Texts by name. One may be a credential.
    pub extensions: HashMap<String, String>,
    /// The route.
    pub route: Option<Metadata>,
}

/// The gRPC call to the server; the caller adds the host. `allowed` names the client's headers to send; `None` for all, with
/// HTTP/2's pseudo-headers, as Envoy sends them.
pub fn request(
    original: &AuthorizationRequest<'_>,
    allowed: Option<&[HeaderName]>,
    configured: ConfiguredContext,
) -> Request<Bytes> {
    let message = CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer(original.peer)),
            destination: Some(peer(original.local)),
            request: Some(attribute_context::Request { time: now(), http: Some(http_request(original, allowed)) }),
            context_extensions: configured.extensions,
            route_metadata_context: configured.route,
        }),
    };
    unary_call(PATH, &message)
}

/// Reads a response: the request may pass if its status is OK.
///
/// # Errors
/// It is no answer of gRPC, or one that decides nothing.
pub fn decision(head: &Parts, body: &Bytes, trailers: Option<&HeaderMap>) -> Result<Decision, Failure> {
    let response = CheckResponse::decode(unary_answer(head, body, trailers)?)?;
    let allows = response.status.is_none_or(|status| status.code == OK);
    match response.http_response {
        Some(HttpResponse::Error(_)) => Err(Failure::Said),
        Some(HttpResponse::Ok(changes)) if allows => Ok(Decision::Allowed(Box::new(allowed(changes)))),
        None if allows => Ok(Decision::Allowed(Box::default())),
        Some(HttpResponse::Denied(denied)) => Ok(Decision::Denied(Box::new(denied.into()))),
        Some(HttpResponse::Ok(_)) | None => Ok(Decision::Denied(Box::new(DeniedHttpResponse::default().into()))),
    }
}

fn allowed(changes: OkHttpResponse) -> Allowed {
    Allowed {
        headers: open(HeaderMutation { set_headers: changes.headers, remove_headers: changes.headers_to_remove }),
        response_headers: changes.response_headers_to_add,
        query_set: changes.query_parameters_to_set,
        query_remove: changes.query_parameters_to_remove,
    }
}

fn http_request(original: &AuthorizationRequest<'_>, allowed: Option<&[HeaderName]>) -> attribute_context::HttpRequest {
    let mut headers = HashMap::new();
    let mut tell = |name: &HeaderName| {
        if let Some(text) = original.text(name) {
            headers.insert(name.as_str().to_owned(), text);
        }
    };
    match allowed {
        Some(allowed) => allowed.iter().for_each(&mut tell),
        None => original.names().for_each(&mut tell),
    }
    if allowed.is_none() {
        let pseudo = [
            (":authority", original.authority),
            (":method", original.method.as_str()),
            (":path", original.path.as_str()),
            (":scheme", original.scheme()),
        ];
        headers.extend(pseudo.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let announced = original.headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    let size = original.body.map(|body| i64::try_from(body.len()).unwrap_or(i64::MAX)).or(announced).unwrap_or(-1);
    let (body, raw_body) = match original.body.map(|body| (str::from_utf8(body), body)) {
        None => (String::new(), Bytes::new()),
        Some((Ok(text), _)) => (text.to_owned(), Bytes::new()),
        Some((Err(_), bytes)) => (String::new(), bytes.clone()),
    };
    attribute_context::HttpRequest {
        id: original.id.to_owned(),
        method: original.method.to_string(),
        headers,
        path: original.path.to_string(),
        host: original.authority.to_owned(),
        scheme: original.scheme().to_owned(),
        size,
        protocol: format!("{:?}", original.version),
        body,
        raw_body,
    }
}

fn peer(address: SocketAddr) -> Peer {
    let socket_address = SocketAddress { address: address.ip().to_canonical().to_string(), port_value: address.port().into() };
    Peer { address: Some(Address { socket_address: Some(socket_address) }) }
}

fn now() -> Option<prost_types::Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let (seconds, nanos) = (i64::try_from(since.as_secs()).ok()?, i32::try_from(since.subsec_nanos()).ok()?);
    Some(prost_types::Timestamp { seconds, nanos })
}
