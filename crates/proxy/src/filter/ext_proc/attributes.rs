//! Envoy's attributes of a request, as far as the gateway knows them (`pailou_api::envoy::ext_proc::ATTRIBUTES`).

use http::{HeaderName, StatusCode, header};
use jiff::Timestamp;
use pailou_envoy_proto::structs::{self, Kind, Struct, Value};
use pailou_snapshot::{ExtProc, ProcessedParts, RequestFact, RouteName};

use crate::{headers, request_head::Head, template::RequestFacts, worker::Connection};

/// Attributes of a request for each direction. Those of the response come with it.
#[derive(Default)]
pub(super) struct Attributes {
    request: Option<Struct>,
    response: Option<Struct>,
    /// The response's status is asked for.
    status: bool,
}

/// The only attribute of a response.
const RESPONSE_CODE: &str = "response.code";

impl Attributes {
    /// The attributes that a processor gets.
    pub(super) fn of(settings: &ExtProc, head: &Head, connection: &Connection, route: &RouteName) -> Self {
        let facts = RequestFacts::of(head, connection, Some(route));
        let of = |parts: &Option<ProcessedParts>| {
            let names = parts.as_ref().map(|parts| &parts.attributes).filter(|names| !names.is_empty())?;
            let values = names.iter().filter_map(|name| Some((name.to_string(), value(name, &facts, head, connection)?)));
            Some(Struct { fields: values.collect() })
        };
        let response = settings.response.as_ref();
        let status = response.is_some_and(|parts| parts.attributes.iter().any(|name| **name == *RESPONSE_CODE));
        Self { request: of(&settings.request), response: of(&settings.response), status }
    }

    /// Those that go with the request's headers. They are sent once.
    pub(super) fn of_request(&mut self) -> Option<Struct> {
        self.request.take()
    }

    /// Those that go with the response's headers. They are sent once.
    pub(super) fn of_response(&mut self, status: StatusCode) -> Option<Struct> {
        let mut found = self.response.take()?;
        if self.status {
            found.fields.insert(RESPONSE_CODE.to_owned(), number(status.as_u16()));
        }
        Some(found)
    }
}

/// The value of an attribute, as Envoy 1.40 sends it; `None` where the request has none.
fn value(name: &str, facts: &RequestFacts<'_>, head: &Head, connection: &Connection) -> Option<Value> {
    let fact = |fact| Some(structs::string(facts.text(fact)));
    let field = |name: &HeaderName| head.text(name).map(structs::string);
    match name {
        "connection.mtls" => {
            let is_mutual = connection.tls.as_ref().is_some_and(|tls| tls.presented.is_some());
            Some(Value { kind: Some(Kind::BoolValue(is_mutual)) })
        }
        "connection.requested_server_name" => connection.tls.as_ref()?.sni.as_deref().map(structs::string),
        "destination.address" => fact(RequestFact::LocalAddress),
        "destination.port" => Some(number(connection.destination.port())),
        "request.host" => fact(RequestFact::Authority),
        "request.id" => field(&headers::REQUEST_ID),
        "request.method" => fact(RequestFact::Method),
        "request.path" => fact(RequestFact::Path),
        "request.protocol" => fact(RequestFact::Protocol),
        "request.query" => Some(structs::string(head.parts.uri.query().unwrap_or_default())),
        "request.referer" => field(&header::REFERER),
        "request.scheme" => fact(RequestFact::Scheme),
        "request.time" => Some(structs::string(Timestamp::now().strftime("%FT%T%.6f+00:00").to_string())),
        "request.url_path" => Some(structs::string(head.parts.uri.path())),
        "request.useragent" => field(&header::USER_AGENT),
        "source.address" => fact(RequestFact::ClientAddress),
        "source.port" => Some(number(connection.peer.port())),
        "xds.route_name" => fact(RequestFact::RouteName),
        _ => None,
    }
}

fn number(number: u16) -> Value {
    Value { kind: Some(Kind::NumberValue(number.into())) }
}
