//! Conditions of logs on an event.

use pailou_auth::{Attribute, Attributes, Condition};
use pailou_snapshot::{AddressPart, LogOperator};
use serde_json::Value as Json;

use super::{
    facts::Facts,
    operator::{Value, value},
};

/// Whether one of the conditions holds, or there are none.
pub(super) fn holds(conditions: &[Condition], facts: &Facts<'_>) -> bool {
    conditions.is_empty() || conditions.iter().any(|condition| condition.holds(&Ended(facts)))
}

/// An event, as conditions see it: without its query, and without headers that may be credentials.
struct Ended<'a>(&'a Facts<'a>);

impl Attributes for Ended<'_> {
    fn attribute(&self, name: &str) -> Option<Attribute> {
        let Self(facts) = self;
        let operator = match name {
            "connection.mtls" => return facts.request.map(|(_, notes)| Attribute::Bool(notes.origin.is_mutual_tls)),
            "request.size" | "request.total_size" => return facts.received.map(Attribute::Number),
            "request.query" => return Some(Attribute::Text(String::new())),
            "request.useragent" => return self.header("user-agent"),
            "request.referer" => return self.header("referer"),
            "response.code" => return facts.status.map(|status| Attribute::Number(status.into())),
            "response.size" => return facts.sent.map(Attribute::Number),
            "response.code_details" => return facts.code_details().map(Attribute::Text),
            "response.grpc_status" => {
                let status = facts.request.and_then(|(_, notes)| notes.grpc_status);
                return status.map(|status| Attribute::Number(status.into()));
            }
            "upstream.transport_failure_reason" => LogOperator::TransportFailure,
            "upstream.address" => LogOperator::Upstream(AddressPart::Whole),
            "connection.requested_server_name" => LogOperator::ServerName,
            "destination.address" => LogOperator::Local(AddressPart::Whole),
            "destination.port" => LogOperator::Local(AddressPart::Port),
            "request.host" => LogOperator::Authority,
            "request.id" => LogOperator::RequestId,
            "request.method" => LogOperator::Method,
            "request.path" | "request.url_path" => LogOperator::Path,
            "request.protocol" => LogOperator::Protocol,
            "request.scheme" => LogOperator::Scheme,
            "source.address" => LogOperator::Client(AddressPart::Whole),
            "source.port" => LogOperator::Client(AddressPart::Port),
            "xds.route_name" => LogOperator::RouteName,
            _ => return None,
        };
        Some(match value(&operator, facts)? {
            Value::Text(text) => Attribute::Text(text.into_owned()),
            Value::Number(number) => Attribute::Number(number),
            Value::Amount(amount) => Attribute::Text(amount.to_string()),
        })
    }

    fn headers(&self) -> Vec<(String, String)> {
        self.0.request.map(|(_, notes)| notes.all_request().to_vec()).unwrap_or_default()
    }

    fn metadata(&self) -> Json {
        Json::Null
    }

    fn response_headers(&self) -> Vec<(String, String)> {
        self.0.request.map(|(_, notes)| notes.all_response().to_vec()).unwrap_or_default()
    }
}

impl Ended<'_> {
    fn header(&self, name: &str) -> Option<Attribute> {
        let (_, notes) = self.0.request?;
        notes.all_request().iter().find(|(known, _)| known == name).map(|(_, value)| Attribute::Text(value.clone()))
    }
}
