//! Claims of a token whose signature is right.

use std::{borrow::Cow, sync::Arc};

use http::HeaderValue;
use serde_json::{Map, Value};

use crate::{
    ClaimToHeader,
    claim_headers::{KeptHeaders, TokenHeaders},
};

/// Claims of one token.
#[derive(Clone, Debug, PartialEq)]
pub struct Claims {
    payload: Arc<Value>,
    /// `iss`.
    issuer: Option<Box<str>>,
    /// `aud`, which is a text or a list.
    audiences: Vec<Box<str>>,
    /// The lists of `scope` and `scp`, split at spaces.
    scopes: Vec<Box<str>>,
    /// `exp`, seconds since 1970.
    pub(crate) expires: Option<i64>,
    /// `nbf`, seconds since 1970.
    pub(crate) not_before: Option<i64>,
    /// `iat`, seconds since 1970.
    pub(crate) issued_at: Option<i64>,
    pub(crate) kept_headers: KeptHeaders,
}

/// A registered claim of the wrong type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongType(pub(crate) &'static str);

impl Claims {
    /// Reads a payload (RFC 7519, section 4.1).
    pub(crate) fn new(payload: Map<String, Value>) -> Result<Self, WrongType> {
        let expires = date(&payload, "exp")?;
        let not_before = date(&payload, "nbf")?;
        let issued_at = date(&payload, "iat")?;
        for name in ["iss", "sub", "jti"] {
            if payload.get(name).is_some_and(|value| !value.is_string()) {
                return Err(WrongType(name));
            }
        }
        let is_text_or_list = |value: &Value| match value {
            Value::String(_) => true,
            Value::Array(list) => list.iter().all(Value::is_string),
            _ => false,
        };
        if payload.get("aud").is_some_and(|value| !is_text_or_list(value)) {
            return Err(WrongType("aud"));
        }
        let scopes = ["scope", "scp"].iter().filter_map(|name| payload.get(*name)).flat_map(words).map(Into::into).collect();
        let issuer = payload.get("iss").and_then(Value::as_str).map(Into::into);
        let audiences = payload.get("aud").into_iter().flat_map(texts).map(Into::into).collect();
        let (payload, kept_headers) = (Arc::new(Value::Object(payload)), KeptHeaders::default());
        Ok(Self { payload, issuer, audiences, scopes, expires, not_before, issued_at, kept_headers })
    }

    /// The whole payload.
    pub fn payload(&self) -> &Arc<Value> {
        &self.payload
    }

    /// `iss`.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// `aud`, which is a text or a list.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.audiences.iter().map(|audience| &**audience)
    }

    /// Whether the token has a scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|it| **it == *scope)
    }

    /// The values of these headers, in their order; none where a claim is not there, or cannot stand in a header.
    pub(crate) fn headers(&self, headers: &Arc<[ClaimToHeader]>) -> TokenHeaders {
        let value = |header: &ClaimToHeader| self.find(&header.claim).and_then(as_header);
        self.kept_headers.of(headers, |header| value(header).and_then(|value| HeaderValue::from_str(&value).ok()))
    }

    /// The claim at a path of members.
    pub fn find(&self, path: &[Box<str>]) -> Option<&Value> {
        path.iter().try_fold(&*self.payload, |value, name| value.get(&**name))
    }
}

/// A claim as the value of a header: texts as they are, numbers, booleans. Others have no such form.
fn as_header(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The text, or the texts of a list.
pub(crate) fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let (one, list) = match value {
        Value::Array(list) => (None, &list[..]),
        other => (other.as_str(), &[][..]),
    };
    one.into_iter().chain(list.iter().filter_map(Value::as_str))
}

fn words(value: &Value) -> impl Iterator<Item = &str> {
    texts(value).flat_map(str::split_ascii_whitespace)
}

/// A NumericDate, which may have a fraction. Fractions are cut off, and what is out of bounds stays at the bound.
fn date(payload: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, WrongType> {
    let Some(value) = payload.get(name) else { return Ok(None) };
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64));
    seconds.map(Some).ok_or(WrongType(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Result<Claims, WrongType> {
        let Value::Object(map) = value else { panic!("no object") };
        Claims::new(map)
    }

    #[test]
    fn claims_are_found_at_paths_and_scopes_as_words() {
        let claims = claims(json!({
            "aud": ["a", "b"], "exp": 1.9e9, "scope": "read write", "scp": ["admin"], "realm": {"roles": ["x"], "level": 3, "on": true},
        }))
        .unwrap();
        assert_eq!(claims.audiences().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(claims.expires, Some(1_900_000_000));
        assert!(claims.has_scope("write") && claims.has_scope("admin") && !claims.has_scope("read write"));
        let header = |path: &[&str]| {
            let path: Vec<Box<str>> = path.iter().map(|name| (*name).into()).collect();
            claims.find(&path).and_then(as_header).map(Cow::into_owned)
        };
        assert_eq!(header(&["realm", "level"]).as_deref(), Some("3"));
        assert_eq!(header(&["realm", "on"]).as_deref(), Some("true"));
        assert_eq!(header(&["realm", "roles"]), None);
        assert_eq!(header(&["realm", "x", "y"]), None);
    }

    #[test]
    fn registered_claims_have_their_types() {
        for (value, name) in [
            (json!({"exp": "1"}), "exp"),
            (json!({"nbf": null}), "nbf"),
            (json!({"iat": []}), "iat"),
            (json!({"iss": 1}), "iss"),
            (json!({"sub": {}}), "sub"),
            (json!({"aud": [1]}), "aud"),
            (json!({"aud": 1}), "aud"),
        ] {
            assert_eq!(claims(value), Err(WrongType(name)));
        }
    }
}
