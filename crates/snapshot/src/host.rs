//! Host names of listeners and routes, and the map from a request's host to what answers for it.

use std::{borrow::Cow, fmt, sync::Arc};

use foldhash::HashMap;

/// A host name as listeners and routes give it: exact, or a wildcard (`*.example.com`) that spans one or more labels.
///
/// Kept in lower case. Source: Gateway API, `Hostname`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// Just this name.
    Exact(Arc<str>),
    /// Any name that ends in a dot and this suffix (held without the leading `*.`).
    Suffix(Arc<str>),
}

impl HostPattern {
    /// Reads `example.com` or `*.example.com`, in any case.
    pub fn new(pattern: &str) -> Self {
        let pattern = pattern.to_ascii_lowercase();
        match pattern.strip_prefix("*.") {
            Some(suffix) => Self::Suffix(suffix.into()),
            None => Self::Exact(pattern.into()),
        }
    }

    /// Whether a lower-case host without port falls under the pattern.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Suffix(suffix) => host.strip_suffix(&**suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        }
    }

    /// The hosts that fall under both patterns, if there are any: the more specific of the two.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let covers = |wide: &Self, narrow: &Self| match (wide, narrow) {
            (_, Self::Exact(name)) => wide.matches(name),
            (Self::Suffix(wide), Self::Suffix(narrow)) => {
                wide == narrow || narrow.strip_suffix(&**wide).is_some_and(|rest| rest.ends_with('.'))
            }
            (Self::Exact(_), Self::Suffix(_)) => false,
        };
        if covers(self, other) {
            Some(other.clone())
        } else if covers(other, self) {
            Some(self.clone())
        } else {
            None
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

/// Values by host pattern, found from the most specific pattern to the least: exact, then the longest suffix, then any host.
#[derive(Clone, Debug)]
pub struct HostMap<T> {
    exact: HashMap<Arc<str>, T>,
    suffix: HashMap<Arc<str>, T>,
    any: Option<T>,
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self { exact: HashMap::default(), suffix: HashMap::default(), any: None }
    }
}

impl<T> HostMap<T> {
    /// The values that answer for a host (lower case, no port), the most specific first.
    pub fn get<'a, 'h>(&'a self, host: &'h str) -> impl Iterator<Item = &'a T> + use<'a, 'h, T> {
        let exact = self.exact.get(host);
        let labels = if self.suffix.is_empty() { "" } else { host };
        let suffixes =
            labels.match_indices('.').filter(|(dot, _)| *dot > 0).filter_map(|(dot, _)| self.suffix.get(&labels[dot + 1..]));
        exact.into_iter().chain(suffixes).chain(self.any.as_ref())
    }

    /// The pattern (`None`: any host) of the first value that is wanted among those that answer for a host.
    pub fn find_pattern(&self, host: &str, is_wanted: impl Fn(&T) -> bool) -> Option<Option<HostPattern>> {
        let exact = self.exact.get_key_value(host).map(|(name, value)| (Some(HostPattern::Exact(name.clone())), value));
        let suffixes = host.match_indices('.').filter(|(dot, _)| *dot > 0);
        let suffixes = suffixes.filter_map(|(dot, _)| self.suffix.get_key_value(&host[dot + 1..]));
        let suffixes = suffixes.map(|(suffix, value)| (Some(HostPattern::Suffix(suffix.clone())), value));
        let mut all = exact.into_iter().chain(suffixes).chain(self.any.iter().map(|value| (None, value)));
        all.find(|(_, value)| is_wanted(value)).map(|(pattern, _)| pattern)
    }

    /// Puts a value at a pattern (`None`: any host) and gives back the one that stood there.
    pub fn insert(&mut self, pattern: Option<&HostPattern>, value: T) -> Option<T> {
        match pattern {
            Some(HostPattern::Exact(name)) => self.exact.insert(name.clone(), value),
            Some(HostPattern::Suffix(suffix)) => self.suffix.insert(suffix.clone(), value),
            None => self.any.replace(value),
        }
    }

    /// Takes away what stands at a pattern (`None`: any host).
    pub fn remove(&mut self, pattern: Option<&HostPattern>) -> Option<T> {
        match pattern {
            Some(HostPattern::Exact(name)) => self.exact.remove(name),
            Some(HostPattern::Suffix(suffix)) => self.suffix.remove(suffix),
            None => self.any.take(),
        }
    }

    /// The value at just this pattern (`None`: any host), made first where there is none.
    pub fn entry(&mut self, pattern: Option<&HostPattern>) -> &mut T
    where
        T: Default,
    {
        match pattern {
            Some(HostPattern::Exact(name)) => self.exact.entry(name.clone()).or_default(),
            Some(HostPattern::Suffix(suffix)) => self.suffix.entry(suffix.clone()).or_default(),
            None => self.any.get_or_insert_default(),
        }
    }

    /// Every value with its pattern (`None`: any host), in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Option<HostPattern>, &T)> {
        let exact = self.exact.iter().map(|(name, value)| (Some(HostPattern::Exact(name.clone())), value));
        let suffix = self.suffix.iter().map(|(suffix, value)| (Some(HostPattern::Suffix(suffix.clone())), value));
        exact.chain(suffix).chain(self.any.iter().map(|value| (None, value)))
    }

    /// Every value, in no order.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.suffix.values()).chain(&self.any)
    }

    /// Every value, in no order.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.exact.values_mut().chain(self.suffix.values_mut()).chain(&mut self.any)
    }
}

/// A `Host` header or `:authority` as it is matched: without port, in lower case. Allocates only where there are capitals.
pub fn normalize_host(authority: &str) -> Cow<'_, str> {
    // Most have neither, which one look without a branch for each byte tells.
    if !authority.bytes().fold(false, |has, byte| has | (byte == b':') | byte.is_ascii_uppercase()) {
        return Cow::Borrowed(authority);
    }
    let host = match authority.rfind(':') {
        // An IPv6 literal's colons stand within brackets.
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_spans_labels_but_not_none() {
        let pattern = HostPattern::new("*.Example.com");
        assert!(pattern.matches("a.example.com") && pattern.matches("a.b.example.com"));
        assert!(!pattern.matches("example.com") && !pattern.matches(".example.com") && !pattern.matches("aexample.com"));
    }

    #[test]
    fn the_most_specific_pattern_comes_first() {
        let mut map = HostMap::default();
        for pattern in ["*.com", "a.example.com", "*.example.com"] {
            map.insert(Some(&HostPattern::new(pattern)), pattern);
        }
        map.insert(None, "any");
        assert_eq!(map.get("a.example.com").copied().collect::<Vec<_>>(), ["a.example.com", "*.example.com", "*.com", "any"]);
        assert_eq!(map.get("example.com").copied().collect::<Vec<_>>(), ["*.com", "any"]);
        assert_eq!(map.get("").copied().collect::<Vec<_>>(), ["any"]);
        let pattern = |host: &str, wanted: &str| map.find_pattern(host, |value| *value == wanted);
        assert_eq!(pattern("a.example.com", "*.com"), Some(Some(HostPattern::new("*.com"))));
        assert_eq!((pattern("a.example.com", "any"), pattern("example.com", "a.example.com")), (Some(None), None));
    }

    #[test]
    fn intersections_are_the_narrower_pattern() {
        let meet = |a: &str, b: &str| HostPattern::new(a).intersection(&HostPattern::new(b)).map(|host| host.to_string());
        assert_eq!(meet("*.example.com", "a.example.com").as_deref(), Some("a.example.com"));
        assert_eq!(meet("*.b.example.com", "*.example.com").as_deref(), Some("*.b.example.com"));
        assert_eq!(meet("*.example.com", "example.com"), None);
        assert_eq!(meet("a.example.com", "b.example.com"), None);
    }

    #[test]
    fn a_port_and_capitals_do_not_count() {
        assert_eq!(normalize_host("Example.COM:8080"), "example.com");
        assert_eq!(normalize_host("[::1]:8080"), "[::1]");
        assert_eq!(normalize_host("[::1]"), "[::1]");
    }
}
