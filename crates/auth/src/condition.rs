//! Conditions in the Common Expression Language (CEL) on Envoy's attributes of a request.
//!
//! Source: Envoy Gateway's SecurityPolicy `authorization.rules[].cel`; Envoy's documentation of attributes.

use std::{collections::HashMap, fmt, sync::Arc};

use cel::{Program, Value, objects::Key};

use crate::expression::{self, ExpressionError};

/// Attributes that a condition can name. `request.headers` and `metadata.filter_metadata` are maps.
const ATTRIBUTES: [&str; 20] = [
    "connection.mtls",
    "connection.requested_server_name",
    "destination.address",
    "destination.port",
    "request.headers",
    "request.host",
    "request.id",
    "request.method",
    "request.path",
    "request.protocol",
    "request.query",
    "request.referer",
    "request.scheme",
    "request.size",
    "request.url_path",
    "request.useragent",
    "source.address",
    "source.port",
    "metadata.filter_metadata",
    "xds.route_name",
];

/// Attributes that a condition on a request that has ended can name beside those. `response.headers` is a map.
const ATTRIBUTES_AT_END: [&str; 8] = [
    "request.total_size",
    "response.code",
    "response.code_details",
    "response.grpc_status",
    "response.headers",
    "response.size",
    "upstream.address",
    "upstream.transport_failure_reason",
];

/// A condition.
pub struct Condition {
    text: Box<str>,
    program: Program,
    /// Attributes that it names.
    attributes: Vec<&'static str>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A whole number.
    Number(u64),
    /// Yes or no.
    Bool(bool),
}

/// A request, as conditions see it.
pub trait Attributes {
    /// An attribute that is no map; `None` where the request has none.
    fn attribute(&self, name: &str) -> Option<Attribute>;

    /// Headers by their names, in lower case; lines of one name joined with a comma.
    fn headers(&self) -> Vec<(String, String)>;

    /// Metadata by filter: claims of tokens, metadata of keys.
    fn metadata(&self) -> serde_json::Value;

    /// The same of the response. None while the request has not ended.
    fn response_headers(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Why a condition cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// It is no expression that can be used.
    #[error(transparent)]
    Expression(ExpressionError),
    /// It names what no request has.
    #[error("`{0}` is none of the attributes that conditions can name: {list}", list = ATTRIBUTES.join(", "))]
    Attribute(String),
    /// It names what no request has, at its end either.
    #[error("`{0}` is none of the attributes that conditions of logs can name: {list}", list = at_end().collect::<Vec<_>>().join(", "))]
    AttributeAtEnd(String),
}

fn at_end() -> impl Iterator<Item = &'static str> + Clone {
    ATTRIBUTES.into_iter().filter(|name| !name.starts_with("metadata.")).chain(ATTRIBUTES_AT_END)
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        Self::parse_over(text, ATTRIBUTES.into_iter()).map_err(|error| match error {
            ExpressionError::Variable(name) => ConditionError::Attribute(name),
            error => ConditionError::Expression(error),
        })
    }

    /// Reads a condition on a request that has ended.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse_for_end(text: &str) -> Result<Self, ConditionError> {
        Self::parse_over(text, at_end()).map_err(|error| match error {
            ExpressionError::Variable(name) => ConditionError::AttributeAtEnd(name),
            error => ConditionError::Expression(error),
        })
    }

    fn parse_over(text: &str, known: impl Iterator<Item = &'static str> + Clone) -> Result<Self, ExpressionError> {
        let root_of = |name: &'static str| name.split('.').next().unwrap_or_default();
        let program = expression::compile(text, |name| known.clone().any(|known| root_of(known) == name))?;
        let references = program.references();
        let roots = references.variables();
        let attributes = known.filter(|name| roots.contains(&root_of(name))).collect();
        Ok(Self { text: text.into(), attributes, program })
    }

    /// Whether it holds. An error, and a result that is no truth value, count as no.
    pub fn holds(&self, request: &dyn Attributes) -> bool {
        let mut context = expression::context();
        let mut roots: HashMap<&str, HashMap<Key, Value>> = HashMap::new();
        for name in &self.attributes {
            let Some((root, member)) = name.split_once('.') else { continue };
            let members = roots.entry(root).or_default();
            let value = match *name {
                "request.headers" => Some(map(request.headers().into_iter().map(|(name, value)| (name, text(value))))),
                "response.headers" => Some(map(request.response_headers().into_iter().map(|(name, value)| (name, text(value))))),
                "metadata.filter_metadata" => Some(of_json(&request.metadata())),
                name => request.attribute(name).map(value),
            };
            if let Some(value) = value {
                members.insert(member.to_owned().into(), value);
            }
        }
        for (root, members) in roots {
            context.add_variable_from_value(root, members);
        }
        matches!(self.program.execute(&context), Ok(Value::Bool(true)))
    }

    /// Whether it goes through a list or map, so that its work grows with the request.
    pub fn has_loop(&self) -> bool {
        expression::has_loop(&self.text)
    }

    /// Whether it may look at headers of the request, and at those of the response.
    pub fn sides(&self) -> (bool, bool) {
        let has = |name| self.attributes.contains(&name) && self.text.contains("headers");
        (has("request.headers"), has("response.headers"))
    }

    /// Whether it may look at a header of this name.
    pub fn names(&self, header: &str) -> bool {
        self.text.to_ascii_lowercase().contains(header)
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.text)
    }
}

fn value(attribute: Attribute) -> Value {
    match attribute {
        Attribute::Text(value) => text(value),
        // Envoy's numbers are of type int.
        Attribute::Number(number) => Value::Int(i64::try_from(number).unwrap_or(i64::MAX)),
        Attribute::Bool(is_true) => Value::Bool(is_true),
    }
}

fn text(text: String) -> Value {
    Value::String(Arc::new(text))
}

fn map(members: impl Iterator<Item = (String, Value)>) -> Value {
    members.map(|(name, value)| (Key::from(name), value)).collect::<HashMap<Key, Value>>().into()
}

fn of_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(is_true) => Value::Bool(*is_true),
        // As in protobuf's Struct, in which Envoy holds metadata.
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(value) => text(value.clone()),
        serde_json::Value::Array(values) => Value::List(Arc::new(values.iter().map(of_json).collect())),
        serde_json::Value::Object(members) => map(members.iter().map(|(name, value)| (name.clone(), of_json(value)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Request;

    impl Attributes for Request {
        fn attribute(&self, name: &str) -> Option<Attribute> {
            match name {
                "request.method" => Some(Attribute::Text("POST".to_owned())),
                "request.path" => Some(Attribute::Text("/v1/models?x=1".to_owned())),
                "request.url_path" => Some(Attribute::Text("/v1/models".to_owned())),
                "source.port" => Some(Attribute::Number(40_000)),
                "connection.mtls" => Some(Attribute::Bool(true)),
                _ => None,
            }
        }

        fn headers(&self) -> Vec<(String, String)> {
            vec![("x-team".to_owned(), "red".to_owned()), ("x-ai-eg-model".to_owned(), "qwen".to_owned())]
        }

        fn metadata(&self) -> serde_json::Value {
            serde_json::json!({"envoy.filters.http.jwt_authn": {"sso": {"level": 3, "groups": ["a", "b"]}}})
        }
    }

    #[test]
    fn a_condition_sees_the_request() {
        for (text, expected) in [
            ("request.method == 'POST' && request.url_path.startsWith('/v1/')", true),
            ("request.headers['x-team'] in ['red', 'blue']", true),
            ("request.headers['x-team'] == 'blue'", false),
            ("has(request.headers.absent)", false),
            ("'x-team' in request.headers", true),
            ("request.headers['absent'] == 'x'", false),
            ("!(request.headers['absent'] == 'x')", false),
            ("source.port > 1024 && connection.mtls", true),
            ("metadata.filter_metadata['envoy.filters.http.jwt_authn'].sso.level >= 3.0", true),
            ("'b' in metadata.filter_metadata['envoy.filters.http.jwt_authn']['sso']['groups']", true),
            ("metadata.filter_metadata['envoy.filters.http.jwt_authn'].sso.groups.exists(group, group == 'b')", true),
            ("request.path.matches('^/v1/.*x=1$')", true),
            ("request.method", false),
            ("request.query == ''", false),
            ("size(request.method) == 4 ? true : false", true),
        ] {
            let condition = Condition::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(condition.holds(&Request), expected, "{text}");
        }
    }

    #[test]
    fn a_condition_that_cannot_be_used_says_why() {
        let error = |text: &str| Condition::parse(text).unwrap_err();
        assert!(matches!(error("request.method =="), ConditionError::Expression(ExpressionError::Syntax(_))));
        assert_eq!(error("reqest.method == 'GET'"), ConditionError::Attribute("reqest".to_owned()));
        assert_eq!(error("nothing(request.method)"), ConditionError::Expression(ExpressionError::Function("nothing".to_owned())));
        assert_eq!(error(&" ".repeat(4097)), ConditionError::Expression(ExpressionError::TooLong));
        for text in [
            format!("{}1==1", "1+".repeat(2000)),
            format!("request{}", ".a".repeat(2000)),
            format!("request{}", "[0]".repeat(1000)),
        ] {
            assert_eq!(error(&text), ConditionError::Expression(ExpressionError::TooDeep));
        }
        assert_eq!(error("[1].all(a, [2].all(b, a < b))"), ConditionError::Expression(ExpressionError::Loops));
        assert_eq!(
            error(&format!("request.path == {}", "'+' + ".repeat(101))),
            ConditionError::Expression(ExpressionError::TooDeep)
        );
        let deep = Condition::parse(&format!("{}1==97", "1+".repeat(96))).unwrap();
        assert!(deep.holds(&Request), "as deep as a condition may be, on the stack of a thread");
        let wide = Condition::parse(&format!("{}true", "false||".repeat(100))).unwrap();
        assert!(wide.holds(&Request));
        // Contents of literals do not count.
        for text in [
            format!("request.path == '{}'", ".".repeat(500)),
            format!("request.path == \"\\\"{}\"", "[".repeat(500)),
            format!("request.path == r'\\{}'", "+".repeat(500)),
            format!("request.path == \'\'\'\'{}\'\'\'", "+".repeat(500)),
            format!("true // {}", "+".repeat(500)),
        ] {
            assert!(Condition::parse(&text).is_ok(), "{text}: {:?}", Condition::parse(&text).err());
        }
        // Nesting is bounded, however deep the text is.
        for text in ["(".repeat(4000), format!("{}true", "!".repeat(4000)), "[".repeat(4000), "true?".repeat(800)] {
            let _ = Condition::parse(&text);
        }
    }

    #[test]
    fn a_condition_at_the_end_sees_the_response_and_no_metadata() {
        struct Ended;
        impl Attributes for Ended {
            fn attribute(&self, name: &str) -> Option<Attribute> {
                (name == "response.code").then_some(Attribute::Number(503))
            }

            fn headers(&self) -> Vec<(String, String)> {
                Vec::new()
            }

            fn metadata(&self) -> serde_json::Value {
                serde_json::Value::Null
            }

            fn response_headers(&self) -> Vec<(String, String)> {
                vec![("server".to_owned(), "vllm".to_owned())]
            }
        }
        let holds = |text: &str| Condition::parse_for_end(text).unwrap().holds(&Ended);
        assert!(holds("response.code >= 500 && response.headers['server'] == 'vllm'"));
        assert!(!holds("response.code < 500 || 'x' in request.headers"));
        assert_eq!(Condition::parse_for_end("'x' in response.headers").unwrap().sides(), (false, true));
        assert_eq!(Condition::parse("response.code == 1").unwrap_err(), ConditionError::Attribute("response".to_owned()));
        let unknown = ConditionError::AttributeAtEnd("metadata".to_owned());
        assert_eq!(Condition::parse_for_end("has(metadata.filter_metadata)").unwrap_err(), unknown);
    }

    #[test]
    fn it_knows_whether_it_goes_through_a_list() {
        let has_loop = |text: &str| Condition::parse(text).unwrap().has_loop();
        assert!(has_loop("request.headers.exists(name, name.startsWith('x-'))"));
        assert!(!has_loop("request.headers['x-all'] == 'exists' && request.method in ['GET']"));
    }

    #[test]
    fn it_names_the_headers_that_it_looks_at() {
        let condition = Condition::parse("request.headers['x-ai-eg-model'] == 'qwen'").unwrap();
        assert!(condition.names("x-ai-eg-model") && !condition.names("x-gateway-model-name"));
    }
}
