//! Envoy's command operators in texts: `%RESPONSE_CODE%`, `%REQ(name?other):length%`; `%%` is a percent sign.

use http::HeaderName;
use pailou_snapshot::{RequestFact, Template, TemplatePart};

/// Command operators that texts may have.
const OPERATORS: &str = "RESPONSE_CODE, PROTOCOL, LOCAL_REPLY_BODY, REQ(), RESP(), START_TIME, ROUTE_NAME, REQUESTED_SERVER_NAME, \
                         DOWNSTREAM_REMOTE_ADDRESS, DOWNSTREAM_LOCAL_ADDRESS, both with _WITHOUT_PORT too";

/// A text that a policy of Envoy Gateway gives.
///
/// # Errors
/// An operator is unknown, or a percent sign is not doubled.
pub(crate) fn strict(text: &str) -> Result<Template, String> {
    parse(text, true)
}

/// A text that may be meant as it stands: what is no operator stays. `None` where there are none.
pub(crate) fn lenient(text: &str) -> Option<Template> {
    let template = parse(text, false).ok()?;
    match template.0.as_slice() {
        [] => None,
        [TemplatePart::Text(only)] if **only == *text => None,
        _ => Some(template),
    }
}

fn parse(text: &str, is_strict: bool) -> Result<Template, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        literal.push_str(before);
        let operator = after.split_once('%');
        match operator.map(|(operator, after)| (operator, part(operator), after)) {
            Some(("", _, after)) => {
                literal.push('%');
                rest = after;
            }
            Some((_, Some(part), after)) => {
                if !literal.is_empty() {
                    parts.push(TemplatePart::Text(std::mem::take(&mut literal).into()));
                }
                parts.push(part);
                rest = after;
            }
            Some((operator, None, _)) if is_strict => {
                return Err(format!("%{operator}% is not one of {OPERATORS}; write a percent sign as %%"));
            }
            None if is_strict => return Err("a percent sign is written as %%".to_owned()),
            Some(_) | None => {
                literal.push('%');
                rest = after;
            }
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(TemplatePart::Text(literal.into()));
    }
    Ok(Template(parts))
}

fn part(operator: &str) -> Option<TemplatePart> {
    let fact = |fact| Some(TemplatePart::Request(fact, None));
    match operator {
        "RESPONSE_CODE" => return Some(TemplatePart::ResponseCode),
        "LOCAL_REPLY_BODY" => return Some(TemplatePart::LocalReplyBody),
        "PROTOCOL" => return fact(RequestFact::Protocol),
        "START_TIME" => return fact(RequestFact::StartTime),
        "ROUTE_NAME" => return fact(RequestFact::RouteName),
        "REQUESTED_SERVER_NAME" => return fact(RequestFact::ServerName),
        "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => return fact(RequestFact::ClientAddress),
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => {
            return fact(RequestFact::ClientIp);
        }
        "DOWNSTREAM_REMOTE_PORT" | "DOWNSTREAM_DIRECT_REMOTE_PORT" => return fact(RequestFact::ClientPort),
        "DOWNSTREAM_LOCAL_ADDRESS" => return fact(RequestFact::LocalAddress),
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => return fact(RequestFact::LocalIp),
        "DOWNSTREAM_LOCAL_PORT" => return fact(RequestFact::LocalPort),
        _ => {}
    }
    let (kind, rest) = operator.split_once('(')?;
    let (names, length) = rest.split_once(')')?;
    let length = match length {
        "" => None,
        length => Some(length.strip_prefix(':')?.parse().ok()?),
    };
    let (name, other) = names.split_once('?').map_or((names, None), |(name, other)| (name, Some(other)));
    let header = |name: &str| HeaderName::from_bytes(name.as_bytes()).ok();
    match (kind, pseudo_header(name), other) {
        ("REQ", Some(fact), _) => Some(TemplatePart::Request(fact, length)),
        ("REQ", None, Some(other)) if let Some(fact) = pseudo_header(other) => {
            Some(TemplatePart::RequestHeaderOr(header(name)?, fact, length))
        }
        ("REQ", None, None) => Some(TemplatePart::RequestHeader(header(name)?, None, length)),
        ("REQ", None, Some(other)) => Some(TemplatePart::RequestHeader(header(name)?, Some(header(other)?), length)),
        ("RESP", None, None) => Some(TemplatePart::ResponseHeader(header(name)?, None, length)),
        ("RESP", None, Some(other)) => Some(TemplatePart::ResponseHeader(header(name)?, Some(header(other)?), length)),
        _ => None,
    }
}

/// Parts of the request line, as HTTP/2 and Envoy name them.
fn pseudo_header(name: &str) -> Option<RequestFact> {
    let facts = [
        (":method", RequestFact::Method),
        (":path", RequestFact::Path),
        (":authority", RequestFact::Authority),
        (":scheme", RequestFact::Scheme),
    ];
    facts.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, fact)| fact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_operators() {
        let text = |text: &str| TemplatePart::Text(text.into());
        let name = |name: &'static str| HeaderName::from_static(name);
        for (given, expected) in [
            ("", vec![]),
            ("100%% sure", vec![text("100% sure")]),
            ("%RESPONSE_CODE% oops", vec![TemplatePart::ResponseCode, text(" oops")]),
            ("%REQ(X-A?X-B):10%", vec![TemplatePart::RequestHeader(name("x-a"), Some(name("x-b")), Some(10))]),
            ("%REQ(:PATH)%", vec![TemplatePart::Request(RequestFact::Path, None)]),
            ("%REQ(X-A?:path):3%", vec![TemplatePart::RequestHeaderOr(name("x-a"), RequestFact::Path, Some(3))]),
            ("a%RESP(server)%b", vec![text("a"), TemplatePart::ResponseHeader(name("server"), None, None), text("b")]),
        ] {
            assert_eq!(strict(given), Ok(Template(expected)), "{given}");
        }
        for given in ["50% off", "%NO_SUCH%", "%REQ(%", "%REQ(a b)%", "%REQ(a):x%", "%RESP(:path)%"] {
            assert!(strict(given).is_err(), "{given}");
        }
    }

    #[test]
    fn what_is_no_operator_stays_where_it_may_be_meant_so() {
        for given in ["", "plain", "50% off", "%NO_SUCH%", "100%", "%REQ(%", "a%20b%2Fc"] {
            assert_eq!(lenient(given), None, "{given}");
        }
        let text = |text: &str| TemplatePart::Text(text.into());
        assert_eq!(lenient("%NO%RESPONSE_CODE%"), Some(Template(vec![text("%NO"), TemplatePart::ResponseCode])));
        assert_eq!(lenient("100%%"), Some(Template(vec![text("100%")])));
    }
}
