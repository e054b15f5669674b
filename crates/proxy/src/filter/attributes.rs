//! Envoy's attributes of a request, as far as the gateway knows them: for external processors (`pailou_api::envoy::ext_proc::ATTRIBUTES`)
//! and for conditions ([`Condition`](pailou_auth::Condition)).

use std::net::IpAddr;

use http::{HeaderName, Method, header};
use jiff::Timestamp;
use pailou_auth::{Attribute, Attributes};
use pailou_snapshot::{Body, MODEL_HEADERS, RequestFact, RouteName};

use super::{Stage, authentication::Identity, facts::header_value};
use crate::{headers, request_head::Head, template::RequestFacts, worker::Connection};

/// The value of an attribute, as Envoy 1.40 has it; `None` where the request has none.
pub(super) fn attribute(name: &str, head: &Head, connection: &Connection, route: Option<&RouteName>) -> Option<Attribute> {
    let facts = RequestFacts::of(head, connection, route);
    let fact = |fact| Some(Attribute::Text(facts.text(fact)));
    // Bytes that are no text must not make a header look absent.
    let field = |name: &HeaderName| {
        head.parts.headers.get(name).map(|value| Attribute::Text(String::from_utf8_lossy(value.as_bytes()).into_owned()))
    };
    match name {
        "connection.mtls" => Some(Attribute::Bool(connection.tls.as_ref().is_some_and(|tls| tls.presented.is_some()))),
        "connection.requested_server_name" => connection.tls.as_ref()?.sni.as_deref().map(text),
        "destination.address" => fact(RequestFact::LocalAddress),
        "destination.port" => Some(Attribute::Number(connection.destination.port().into())),
        "request.host" => fact(RequestFact::Authority),
        "request.id" => field(&headers::REQUEST_ID),
        "request.method" => fact(RequestFact::Method),
        "request.path" => fact(RequestFact::Path),
        "request.protocol" => fact(RequestFact::Protocol),
        "request.query" => Some(text(head.parts.uri.query().unwrap_or_default())),
        "request.referer" => field(&header::REFERER),
        "request.scheme" => fact(RequestFact::Scheme),
        "request.time" => Some(Attribute::Text(Timestamp::now().strftime("%FT%T%.6f+00:00").to_string())),
        "request.url_path" => Some(text(head.parts.uri.path())),
        "request.useragent" => field(&header::USER_AGENT),
        "source.address" => fact(RequestFact::ClientAddress),
        "source.port" => Some(Attribute::Number(connection.peer.port().into())),
        "xds.route_name" => fact(RequestFact::RouteName),
        _ => None,
    }
}

fn text(text: &str) -> Attribute {
    Attribute::Text(text.to_owned())
}

/// A request as conditions see it, or another of the same client: with this method, path and model.
pub(super) struct JudgedRequest<'a> {
    pub(super) stage: &'a Stage<'a>,
    pub(super) head: &'a Head,
    pub(super) method: &'a Method,
    /// Without its query.
    pub(super) path: &'a str,
    pub(super) body: &'a Body<'a>,
    pub(super) identity: &'a Identity,
}

impl JudgedRequest<'_> {
    fn is_own(&self) -> bool {
        *self.method == self.head.parts.method && self.path == self.head.parts.uri.path()
    }
}

impl Attributes for JudgedRequest<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute> {
        match name {
            "request.method" => Some(text(self.method.as_str())),
            "request.url_path" => Some(text(self.path)),
            "request.path" if !self.is_own() => Some(text(self.path)),
            "request.query" if !self.is_own() => Some(text("")),
            "request.size" => self.head.text(&header::CONTENT_LENGTH).and_then(|length| length.parse().ok()).map(Attribute::Number),
            // The client's address as the listener finds it. Of one behind a proxy the port is not known.
            "source.address" => Some(Attribute::Text(self.source())),
            name => attribute(name, self.head, self.stage.connection, self.stage.route()),
        }
    }

    fn headers(&self) -> Vec<(String, String)> {
        let map = &self.head.parts.headers;
        let models = MODEL_HEADERS.map(HeaderName::from_static);
        let names = map.keys().chain(models.iter().filter(|name| !map.contains_key(*name)));
        let value =
            |name: &HeaderName| header_value(map, self.body, name).map(|value| String::from_utf8_lossy(&value).into_owned());
        names.filter_map(|name| Some((name.as_str().to_owned(), value(name)?))).collect()
    }

    fn metadata(&self) -> serde_json::Value {
        self.identity.as_json()
    }
}

impl JudgedRequest<'_> {
    fn source(&self) -> String {
        let (client, peer): (IpAddr, _) = (self.stage.client, self.stage.connection.peer);
        let port = if client == peer.ip() { peer.port() } else { 0 };
        std::net::SocketAddr::new(client.to_canonical(), port).to_string()
    }
}
