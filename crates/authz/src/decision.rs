//! Decision of an authorization server.

use http::{HeaderMap, uri::PathAndQuery};
use pailou_envoy_proto::{
    LocalReply, core::HeaderValueOption, ext_authz::QueryParameter, ext_proc::HeaderMutation, header_mutation::apply,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::Failure;

/// Characters that a query may have unescaped (RFC 3986, 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Whether a request may pass.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It may.
    Allowed(Box<Allowed>),
    /// The request may not pass, and its client gets this response.
    Denied(Box<LocalReply>),
}

/// Consent, and what is to be changed of the request.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    pub(crate) headers: HeaderMutation,
    pub(crate) response_headers: Vec<HeaderValueOption>,
    pub(crate) query_set: Vec<QueryParameter>,
    pub(crate) query_remove: Vec<String>,
}

impl Allowed {
    /// Changes the request's headers.
    pub fn apply(&self, headers: &mut HeaderMap) {
        apply(&self.headers, headers);
    }

    /// Headers to add to the response to the client, if there are any.
    pub fn response_headers(&self) -> Option<HeaderMutation> {
        let set_headers = self.response_headers.clone();
        (!set_headers.is_empty()).then_some(HeaderMutation { set_headers, remove_headers: Vec::new() })
    }

    /// The new path with its query; `None` if it stays as it is.
    ///
    /// # Errors
    /// The query would be longer than a path may be.
    pub fn path(&self, path: &PathAndQuery) -> Result<Option<PathAndQuery>, Failure> {
        if self.query_set.is_empty() && self.query_remove.is_empty() {
            return Ok(None);
        }
        let is_other = |pair: &&str| {
            let key = percent_decode_str(pair.split('=').next().unwrap_or_default()).decode_utf8_lossy();
            !self.query_remove.iter().chain(self.query_set.iter().map(|it| &it.key)).any(|changed| *changed == key)
        };
        let kept = path.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).filter(is_other).map(str::to_owned);
        let encode = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
        let set = self.query_set.iter().map(|it| format!("{}={}", encode(&it.key), encode(&it.value)));
        let query: Vec<String> = kept.chain(set).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let changed = format!("{}{mark}{}", path.path(), query.join("&"));
        PathAndQuery::try_from(changed).map(Some).map_err(|_| Failure::Query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_the_query_are_set_and_removed() {
        let set = |key: &str, value: &str| QueryParameter { key: key.into(), value: value.into() };
        let allowed = Allowed {
            query_set: vec![set("user", "a b&c"), set("n", "1")],
            query_remove: vec!["token".into(), "x y".into()],
            ..Allowed::default()
        };
        let path = |path: &str| allowed.path(&path.parse().unwrap()).unwrap().unwrap().to_string();
        assert_eq!(path("/v1?token=s&a=1&user=evil&x%20y=2&b"), "/v1?a=1&b&user=a%20b%26c&n=1");
        assert_eq!(path("/v1"), "/v1?user=a%20b%26c&n=1");
        let removed = Allowed { query_remove: vec!["token".into()], ..Allowed::default() };
        assert_eq!(removed.path(&"/v1?token=s".parse().unwrap()).unwrap().unwrap().as_str(), "/v1");
        assert!(Allowed::default().path(&"/v1?a".parse().unwrap()).unwrap().is_none());
    }
}
