//! Cookies of sessions (SecurityPolicy `oidc`), which reach no backend.

use std::sync::Arc;

use foldhash::HashMap;
use http::HeaderMap;
use pailou_auth::{CookieNames, SessionCookies};

use super::HostPattern;

/// Cookies of all policies.
///
/// The gateway removes names that it generates from all requests. A name that a policy chooses may be another application's: it counts
/// in the namespace of the policy's routes alone, and for their hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyCookies {
    generated: SessionCookies,
    /// By namespace of routes.
    chosen: HashMap<Arc<str>, HashMap<CookieHosts, SessionCookies>>,
}

/// Hosts whose requests bear cookies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CookieHosts {
    /// Any.
    Any,
    /// Those of a route.
    Pattern(HostPattern),
    /// A domain, in lower case, and all below it (RFC 6265, section 5.1.3).
    Domain(Box<str>),
}

impl CookieHosts {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Pattern(pattern) => pattern.matches(host),
            Self::Domain(domain) => host.strip_suffix(&**domain).is_some_and(|labels| labels.is_empty() || labels.ends_with('.')),
        }
    }
}

impl PolicyCookies {
    /// Adds the cookies of a policy that is on a route of this namespace, which clients send to these hosts.
    pub fn insert(&mut self, names: &CookieNames, namespace: &Arc<str>, hosts: &[CookieHosts]) {
        names.generated().for_each(|name| self.generated.insert(name));
        for name in names.chosen() {
            let by_hosts = self.chosen.entry(namespace.clone()).or_default();
            hosts.iter().for_each(|hosts| by_hosts.entry(hosts.clone()).or_default().insert(name));
        }
    }

    /// Removes cookies from a request for a host (lower case, no port) that a route of this namespace takes.
    pub fn remove(&self, headers: &mut HeaderMap, namespace: &str, host: &str) {
        self.generated.remove(headers);
        let chosen = self.chosen.get(namespace).into_iter().flatten().filter(|(hosts, _)| hosts.matches(host));
        chosen.for_each(|(_, cookies)| cookies.remove(headers));
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    #[test]
    fn chosen_names_count_in_their_namespace_and_for_their_hosts() {
        let names = CookieNames::new("a", Some("at"), None);
        let mut cookies = PolicyCookies::default();
        let pattern = CookieHosts::Pattern(HostPattern::new("*.a.test"));
        cookies.insert(&names, &"team".into(), &[pattern, CookieHosts::Domain("b.test".into())]);
        let cases = [
            ("team", "x.a.test", "x=1"),
            ("team", "b.test", "x=1"),
            ("team", "x.b.test", "x=1"),
            ("team", "a.test", "x=1; at=v"),
            ("team", "xb.test", "x=1; at=v"),
            ("other", "x.a.test", "x=1; at=v"),
        ];
        for (namespace, host, rest) in cases {
            let line = format!("x=1; at=v; {}=y", names.id_token);
            let mut headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(line).unwrap())]);
            cookies.remove(&mut headers, namespace, host);
            assert_eq!(headers[header::COOKIE], rest, "{namespace} {host}");
        }
    }
}
