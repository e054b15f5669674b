//! Headers with a token's claims.

use std::{ops::Deref, sync::Arc};

use arc_swap::{ArcSwapOption, Guard};
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

/// A token's headers, computed once: most tokens come many times. They are those of the provider that asked last.
#[derive(Debug, Default)]
pub(crate) struct KeptHeaders(ArcSwapOption<ProviderHeaders>);

/// Headers of a provider, and their values.
type ProviderHeaders = (Arc<[ClaimToHeader]>, HeaderValues);

/// Values, in the order of the headers; none where the claim is not there, or cannot stand in a header.
type HeaderValues = Box<[Option<HeaderValue>]>;

impl KeptHeaders {
    /// The values of a provider's headers; `value` computes those that are not kept.
    pub(crate) fn of(&self, headers: &Arc<[ClaimToHeader]>, value: impl Fn(&ClaimToHeader) -> Option<HeaderValue>) -> TokenHeaders {
        let kept = self.0.load();
        // The settings are held, so that no others come to have their address.
        if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(&kept.0, headers)) {
            return TokenHeaders::Kept(kept);
        }
        let values: HeaderValues = headers.iter().map(value).collect();
        if values.iter().flatten().map(HeaderValue::len).sum::<usize>() <= MAX_KEPT {
            self.0.store(Some(Arc::new((headers.clone(), values.clone()))));
        }
        TokenHeaders::Computed(values)
    }
}

/// Values of a token's headers.
pub(crate) enum TokenHeaders {
    Kept(Guard<Option<Arc<ProviderHeaders>>>),
    Computed(HeaderValues),
}

impl Deref for TokenHeaders {
    type Target = [Option<HeaderValue>];

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Kept(kept) => kept.as_ref().map_or(&[], |kept| &kept.1),
            Self::Computed(values) => values,
        }
    }
}

/// A copy of the claims keeps its own.
impl Clone for KeptHeaders {
    fn clone(&self) -> Self {
        Self::default()
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
    }

    /// Settings that are read anew are others, though the same.
    #[test]
    fn headers_are_kept_for_the_provider_that_asked_last() {
        let claims = claims(json!({"sub": "alice"}));
        let (before, after) = (headers(&[("x-user", "sub")]), headers(&[("x-user", "sub")]));
        let is_kept = |headers: &Arc<[ClaimToHeader]>| {
            let computed = std::cell::Cell::new(false);
            let values = claims.kept_headers.of(headers, |_| {
                computed.set(true);
                Some(HeaderValue::from_static("alice"))
            });
            assert_eq!(*values, [Some(HeaderValue::from_static("alice"))]);
            !computed.get()
        };
        assert_eq!([&before, &before, &after, &after].map(is_kept), [false, true, false, true]);
    }

    #[test]
    fn long_headers_are_not_kept() {
        let long = "a".repeat(MAX_KEPT + 1);
        let claims = claims(Value::Object(Map::from_iter([("sub".to_owned(), json!(long))])));
        let headers = headers(&[("x-user", "sub")]);
        for _ in 0..2 {
            assert_eq!(claims.headers(&headers)[0].as_ref().unwrap(), long.as_str());
            assert!(claims.kept_headers.0.load().is_none());
        }
    }
}
