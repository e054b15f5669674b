//! Attributes of a request and its response that a processor asks for.

use http::StatusCode;
use pailou_auth::Attribute;
use pailou_envoy_proto::structs::{self, Kind, Struct, Value};
use pailou_snapshot::{ExtProc, ProcessedParts, RouteName};

use super::super::attributes::attribute;
use crate::{request_head::Head, worker::Connection};

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
        let of = |parts: &Option<ProcessedParts>| {
            let names = parts.as_ref().map(|parts| &parts.attributes).filter(|names| !names.is_empty())?;
            let values = names.iter().filter_map(|name| Some((name.to_string(), value(name, head, connection, route)?)));
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

/// An attribute's value in a message.
fn value(name: &str, head: &Head, connection: &Connection, route: &RouteName) -> Option<Value> {
    Some(match attribute(name, head, connection, Some(route))? {
        Attribute::Text(text) => structs::string(text),
        Attribute::Number(number) => Value { kind: Some(Kind::NumberValue(number as f64)) },
        Attribute::Bool(is_true) => Value { kind: Some(Kind::BoolValue(is_true)) },
    })
}

fn number(number: u16) -> Value {
    Value { kind: Some(Kind::NumberValue(number.into())) }
}
