//! A request without what could be a credential, for conditions of those who may not learn any.

use pailou_auth::{Attribute, Attributes};
use serde_json::Value;

/// Parts of names of headers that credentials come in.
const CREDENTIAL_NAMES: [&str; 13] =
    ["auth", "cookie", "token", "key", "secret", "passw", "credential", "session", "signature", "assertion", "jwt", "cert", "otp"];
/// Schemes of `Authorization`, with which other headers begin, too, where a credential is in them.
const SCHEMES: [&str; 4] = ["bearer ", "basic ", "digest ", "negotiate "];

/// The request without its query, and without headers that could be credentials.
pub(super) struct Uncredentialed<R>(pub(super) R);

impl<R: Attributes> Attributes for Uncredentialed<R> {
    fn attribute(&self, name: &str) -> Option<Attribute> {
        match name {
            "request.path" => self.0.attribute("request.url_path"),
            // A page's URL has a query, too.
            "request.query" | "request.referer" => None,
            name => self.0.attribute(name),
        }
    }

    fn headers(&self) -> Vec<(String, String)> {
        let mut headers = self.0.headers();
        headers.retain(|(name, value)| name != "referer" && !name.starts_with(':') && !is_credential(name, value));
        headers
    }

    fn metadata(&self) -> Value {
        Value::Null
    }
}

fn is_credential(name: &str, value: &str) -> bool {
    let begins_with = |scheme: &&str| value.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
    CREDENTIAL_NAMES.iter().any(|part| name.contains(part)) || SCHEMES.iter().any(begins_with)
}

#[cfg(test)]
mod tests {
    use pailou_auth::Condition;

    use super::*;

    struct Request;

    impl Attributes for Request {
        fn attribute(&self, name: &str) -> Option<Attribute> {
            let text = match name {
                "request.url_path" => "/v1",
                "request.path" => "/v1?key=secret",
                "request.query" => "key=secret",
                "request.referer" => "http://a/?key=secret",
                _ => return None,
            };
            Some(Attribute::Text(text.to_owned()))
        }

        fn headers(&self) -> Vec<(String, String)> {
            let headers = [
                ("x-team", "red"),
                ("authorization", "secret"),
                ("proxy-authorization", "secret"),
                ("cookie", "secret"),
                ("x-api-key", "secret"),
                ("x-goog-api-key", "secret"),
                ("api-token", "secret"),
                ("referer", "secret"),
                ("x-mine", "BEARER secret"),
            ];
            headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
        }

        fn metadata(&self) -> Value {
            serde_json::json!({"a": {"b": "secret"}})
        }
    }

    #[test]
    fn a_condition_finds_no_credential() {
        let holds = |text: &str| Condition::parse(text).unwrap().holds(&Uncredentialed(Request));
        assert!(holds("request.headers['x-team'] == 'red' && request.path == '/v1'"));
        for text in ["request.path.contains('secret')", "request.query != ''", "request.referer != ''"] {
            assert!(!holds(text), "{text}");
        }
        for (name, _) in Request.headers().iter().filter(|(name, _)| name != "x-team") {
            assert!(!holds(&format!("'{name}' in request.headers")), "{name}");
        }
        assert!(!holds("metadata.filter_metadata['a']['b'] == 'secret'"));
    }
}
