//! Headers of a client that do not pass beside what the configuration puts in their place.

use http::{HeaderMap, HeaderName, header};
use pailou_snapshot::{Credential, HeaderEdit};

use crate::headers;

/// Headers in which clients send credentials to services.
static CREDENTIALS: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// The configuration's part in the headers of a request to a backend.
pub(super) struct Configured<'a> {
    /// Credentials that go in at each attempt.
    pub(super) credentials: &'a [Credential],
    /// Edits that were made: the listener's, the rule's, the backendRef's.
    pub(super) edits: [&'a Option<HeaderEdit>; 3],
}

impl Configured<'_> {
    /// Removes a client's own credentials where the backend gets one of the gateway's, but for a header that an edit sets. A credential's
    /// own header is left to the injection, which replaces the client's or not.
    pub(super) fn remove_credentials(&self, map: &mut HeaderMap) {
        if self.credentials.is_empty() {
            return;
        }
        for name in CREDENTIALS.iter().filter(|name| !self.injects(name) && !self.sets(name)) {
            map.remove(name);
        }
    }

    /// Removes headers with underscores where one of the same name with hyphens is there, is injected, or was removed by an edit: CGI and
    /// WSGI make one of the two.
    pub(super) fn remove_twins(&self, map: &mut HeaderMap) {
        let is_twin = |name: &HeaderName| {
            headers::has_underscore(name.as_str())
                && HeaderName::try_from(name.as_str().replace('_', "-"))
                    .is_ok_and(|name| map.contains_key(&name) || self.injects(&name) || self.removes(&name))
        };
        let twins: Vec<HeaderName> = map.keys().filter(|name| is_twin(name) && !self.sets(name)).cloned().collect();
        for name in twins {
            map.remove(name);
        }
    }

    fn injects(&self, name: &HeaderName) -> bool {
        self.credentials.iter().any(|credential| credential.header == *name)
    }

    fn sets(&self, name: &HeaderName) -> bool {
        self.edits.iter().copied().flatten().any(|edit| edit.sets(name))
    }

    fn removes(&self, name: &HeaderName) -> bool {
        let is_credential = !self.credentials.is_empty() && CREDENTIALS.contains(name);
        is_credential || self.edits.iter().copied().flatten().any(|edit| edit.removes(name))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use pailou_snapshot::SecretValue;

    use super::*;

    fn map(names: &[&'static str]) -> HeaderMap {
        names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("client"))).collect()
    }

    fn left(map: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    fn credential(header: &'static str) -> [Credential; 1] {
        [Credential { header: HeaderName::from_static(header), overwrite: false, value: Ok(SecretValue::new(b"ours").unwrap()) }]
    }

    #[test]
    fn a_clients_credentials_do_not_pass_beside_one_of_the_gateways() {
        let all = ["accept", "api-key", "authorization", "proxy-authorization", "x-api-key", "x-goog-api-key"];
        let kept = |credentials: &[Credential], edit: Option<HeaderEdit>| {
            let mut map = map(&all);
            Configured { credentials, edits: [&None, &edit, &None] }.remove_credentials(&mut map);
            left(&map).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(kept(&[], None), all);
        assert_eq!(kept(&credential("x-api-key"), None), ["accept", "x-api-key"]);
        let own = (header::AUTHORIZATION, HeaderValue::from_static("configured"));
        let edit = HeaderEdit { set: vec![own], ..HeaderEdit::default() };
        assert_eq!(kept(&credential("api-key"), Some(edit)), ["accept", "api-key", "authorization"]);
    }

    #[test]
    fn underscores_hide_no_second_value_of_a_header() {
        let mut map = map(&["x_user", "x-user", "x_team", "x_removed", "x_api_key", "x_own", "x-own", "plain"]);
        let own = (HeaderName::from_static("x_own"), HeaderValue::from_static("configured"));
        let edit = HeaderEdit { set: vec![own], remove: vec![HeaderName::from_static("x-removed")], ..HeaderEdit::default() };
        Configured { credentials: &credential("x-api-key"), edits: [&None, &None, &Some(edit)] }.remove_twins(&mut map);
        assert_eq!(left(&map), ["plain", "x-own", "x-user", "x_own", "x_team"]);
    }
}
