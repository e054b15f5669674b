//! Headers with a token's claims.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use http::{HeaderName, HeaderValue};

/// Bytes of one token's headers that are kept at most; longer ones are computed at each use.
const MAX_KEPT: usize = 1024;

/// A header that the backend gets a claim in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimToHeader {
    /// Name of the header. The client's own is removed.
    pub header: HeaderName,
    /// Path of members to the claim.
    pub claim: Vec<Box<str>>,
}

/// A token's headers, computed once: most tokens come many times. They are those of the first provider that asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptHeaders(OnceLock<(Arc<[ClaimToHeader]>, HeaderValues)>);

/// Values, in the order of the headers; none where the claim is not there, or cannot stand in a header.
type HeaderValues = Box<[Option<HeaderValue>]>;

impl KeptHeaders {
    /// The values of a provider's headers; `value` computes those that are not kept.
    pub(crate) fn of(
        &self,
        headers: &Arc<[ClaimToHeader]>,
        value: impl Fn(&ClaimToHeader) -> Option<HeaderValue>,
    ) -> Cow<'_, [Option<HeaderValue>]> {
        if let Some((known, values)) = self.0.get() {
            // The settings are held, so that no others come to have their address.
            if Arc::ptr_eq(known, headers) {
                return Cow::Borrowed(values);
            }
        }
        let values: Vec<_> = headers.iter().map(value).collect();
        if values.iter().flatten().map(HeaderValue::len).sum::<usize>() <= MAX_KEPT {
            // Another worker, or another provider, may have been first.
            let _ = self.0.set((headers.clone(), values.clone().into()));
        }
        Cow::Owned(values)
    }
}

/// Kept headers say nothing that the claims do not.
impl PartialEq for KeptHeaders {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::Claims;

    fn headers(list: &[(&'static str, &str)]) -> Arc<[ClaimToHeader]> {
        list.iter()
            .map(|(name, claim)| ClaimToHeader { header: HeaderName::from_static(name), claim: vec![(*claim).into()] })
            .collect()
    }

    fn claims(payload: Value) -> Claims {
        let Value::Object(payload) = payload else { panic!("no object") };
        Claims::new(payload).unwrap()
    }

    #[test]
    fn each_provider_gets_its_own_headers_of_a_token() {
        let claims = claims(json!({"sub": "alice", "level": 3, "roles": []}));
        let (one, other) = (headers(&[("x-user", "sub"), ("x-roles", "roles")]), headers(&[("x-level", "level")]));
        for _ in 0..2 {
            assert_eq!(*claims.headers(&one), [Some(HeaderValue::from_static("alice")), None]);
            assert_eq!(*claims.headers(&other), [Some(HeaderValue::from_static("3"))]);
        }
        assert!(matches!(claims.headers(&one), Cow::Borrowed(_)));
    }

    #[test]
    fn long_headers_are_not_kept() {
        let long = "a".repeat(MAX_KEPT + 1);
        let claims = claims(Value::Object(Map::from_iter([("sub".to_owned(), json!(long))])));
        let headers = headers(&[("x-user", "sub")]);
        for _ in 0..2 {
            assert!(matches!(claims.headers(&headers), Cow::Owned(values) if values[0].as_ref().unwrap() == long.as_str()));
        }
    }
}
