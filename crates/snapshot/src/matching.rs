//! The rule that answers a request: Gateway API's precedence as an order of entries.

use std::{cmp::Reverse, sync::Arc};

use http::{HeaderMap, HeaderName, Method};
use regex::Regex;
use smol_str::SmolStr;

use super::{HostMap, HostPattern, RouteKind, Rule};

/// Parts of a request that decide its match. The host is in lower case and without port.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// The host that the request names.
    pub host: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The path, normalised as the listener asks.
    pub path: &'a str,
    /// The query after the question mark, or nothing.
    pub query: &'a str,
    /// The headers, without the client's own `X-Gateway-Model-Name` and `X-Gateway-Base-Model-Name`.
    pub headers: &'a HeaderMap,
    /// Knowledge of the body.
    pub body: Body<'a>,
}

/// Knowledge of a request's body while a rule is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// There is one, and it has not been read.
    Unread,
    /// It has been read, or there is none to read.
    Read {
        /// The model it names.
        model: Option<&'a str>,
        /// The base model of it, where the model is a known adapter.
        base_model: Option<&'a str>,
    },
}

/// The outcome of looking for a rule.
#[derive(Clone, Copy, Debug)]
pub enum MatchOutcome<'a> {
    /// This entry's rule.
    Rule(&'a RouteMatch),
    /// It depends on the body: read it and ask again.
    NeedsBody,
    /// No rule.
    Nothing,
}

/// The rules of a listener, by host name and precedence.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    hosts: Arc<HostMap<Arc<[RouteMatch]>>>,
}

impl FromIterator<(Option<HostPattern>, Vec<RouteMatch>)> for RouteTable {
    /// A table of the entries of each host name (`None`: any). Among entries of the same [precedence](RouteMatch) the first wins.
    fn from_iter<T: IntoIterator<Item = (Option<HostPattern>, Vec<RouteMatch>)>>(hosts: T) -> Self {
        let mut table = Self::default();
        hosts.into_iter().for_each(|(host, entries)| table.set(host.as_ref(), Some(Self::sorted(entries))));
        table
    }
}

impl RouteTable {
    /// Sets the entries of one host name (`None`: any), which must be [sorted](Self::sorted), or takes them away. The other lists are
    /// shared with whoever has a copy of the table.
    pub fn set(&mut self, host: Option<&HostPattern>, entries: Option<Arc<[RouteMatch]>>) {
        let hosts = Arc::make_mut(&mut self.hosts);
        match entries {
            Some(entries) => drop(hosts.insert(host, entries)),
            None => drop(hosts.remove(host)),
        }
    }

    /// Entries in order of precedence. Among those of the same, what comes first wins: the caller goes by age, then name, then the
    /// rule's place. Lists that are in order themselves may be laid end to end in that order.
    pub fn sorted(mut entries: Vec<RouteMatch>) -> Arc<[RouteMatch]> {
        entries.sort_by_key(|entry| Reverse(entry.precedence()));
        entries.into()
    }

    /// The rule that answers a request: under the most specific host name first; what its rules do not match falls through to
    /// the next. [`MatchOutcome::NeedsBody`] comes only where a rule that would win depends on the body's model.
    pub fn find<'a>(&'a self, request: &RequestView<'_>) -> MatchOutcome<'a> {
        for entry in self.hosts.get(request.host).flat_map(|entries| &**entries) {
            match entry.matches(request) {
                Verdict::Yes => return MatchOutcome::Rule(entry),
                Verdict::DependsOnBody => return MatchOutcome::NeedsBody,
                Verdict::No => {}
            }
        }
        MatchOutcome::Nothing
    }

    /// The rule whose CORS answers a preflight; `None` where the preflight is a request like any other.
    ///
    /// A preflight carries neither the body nor the headers of the request that it asks for, of which `method` is the method: rules match
    /// it without them. Of those that do, one whose CORS allows the origin goes first. A rule that takes the preflight itself, and every
    /// such request, without CORS ends the search: its backend answers.
    pub fn find_preflight<'a>(&'a self, request: &RequestView<'_>, method: &Method, origin: &str) -> Option<&'a RouteMatch> {
        let mut refused = None;
        for entry in self.hosts.get(request.host).flat_map(|entries| &**entries) {
            match entry.rule.filters.cors() {
                Some(cors) if entry.allows_preflight(request, method) => {
                    if cors.allows_origin(origin) {
                        return Some(entry);
                    }
                    refused = refused.or(Some(entry));
                }
                None if matches!(entry.matches(request), Verdict::Yes) => break,
                _ => {}
            }
        }
        refused
    }

    /// The entries by host name (`None`: any), those of each in order of precedence.
    pub fn by_host(&self) -> impl Iterator<Item = (Option<HostPattern>, &[RouteMatch])> {
        self.hosts.iter().map(|(host, entries)| (host, &**entries))
    }

    /// The entries that requests for a host may meet, those of the most specific host name first.
    pub fn entries_of<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a RouteMatch> {
        self.hosts.get(host).flat_map(|entries| &**entries)
    }

    /// All entries by host name (`None`: any), in no order of host names.
    pub fn hosts(&self) -> impl Iterator<Item = (Option<HostPattern>, &[RouteMatch])> {
        self.hosts.iter().map(|(host, entries)| (host, &**entries))
    }

    /// The host name that a request met an entry of this table under (`None`: any).
    pub fn host_of(&self, host: &str, entry: &RouteMatch) -> Option<HostPattern> {
        self.hosts.find_pattern(host, |entries| entries.as_ptr_range().contains(&std::ptr::from_ref(entry)))?
    }

    /// Every entry, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &RouteMatch> {
        self.hosts.values().flat_map(|entries| &**entries)
    }
}

/// One match of one rule. All its conditions hold together. Short: the matches of a host name are gone through one after another.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    /// The path.
    pub path: PathMatch,
    /// Further conditions; most matches have none.
    pub conditions: Option<Arc<Conditions>>,
    /// The rule for the request.
    pub rule: Arc<Rule>,
}

/// Conditions beside the path.
#[derive(Clone, Debug, Default)]
pub struct Conditions {
    /// The method, any where absent.
    pub method: Option<Method>,
    /// Headers, except those taken from the body.
    pub headers: Vec<HeaderMatch>,
    /// `X-Gateway-Model-Name`: the model named in the body.
    pub model: Option<ValueMatch>,
    /// `X-Gateway-Base-Model-Name`: the model that the body's adapter builds upon.
    pub base_model: Option<ValueMatch>,
    /// Query parameters; the first value of each counts.
    pub query: Vec<QueryMatch>,
    /// Cookies (`HTTPRouteFilter` `matches`).
    pub cookies: Vec<QueryMatch>,
}

enum Verdict {
    Yes,
    No,
    DependsOnBody,
}

impl RouteMatch {
    /// Greater goes first: exact path, then the longest regular expression, then the longest prefix; a method; more headers; more
    /// query parameters. Gateway API leaves the place of regular expressions open; this is Envoy Gateway's, and lets a rule for `/`
    /// stand beside them.
    fn precedence(&self) -> (u8, usize, bool, usize, usize) {
        let (kind, length) = match &self.path {
            PathMatch::Exact(path) => (2, path.len()),
            // gRPC's: a method of whatever service, which ranks below any service and above no condition.
            PathMatch::Regex(_) if self.rule.route.kind == RouteKind::Grpc => (0, 1),
            PathMatch::Regex(regex) => (1, regex.as_str().len()),
            // Its trailing slash does not count, so it must not lengthen it either.
            PathMatch::Prefix(prefix) => (0, prefix.len()),
        };
        let Some(more) = &self.conditions else { return (kind, length, false, 0, 0) };
        let headers = more.headers.len() + usize::from(more.model.is_some()) + usize::from(more.base_model.is_some());
        (kind, length, more.method.is_some(), headers + more.cookies.len(), more.query.len())
    }

    /// Whether it may match a request somewhere under a path, with these headers where they are known, whatever else the request is.
    /// `base` has no slash at its end.
    pub fn may_match_under(&self, base: &str, headers: Option<&HeaderMap>) -> bool {
        let hold = |more: &Conditions, headers| {
            more.headers.iter().all(|header| header.matches(headers))
                && more.cookies.iter().all(|cookie| cookie.matches(cookie_values(headers)))
        };
        let are_met = || match (self.conditions.as_deref(), headers) {
            (Some(more), Some(headers)) => hold(more, headers),
            _ => true,
        };
        self.path.may_match_under(base) && are_met()
    }

    /// Whether it may match a request of this method to the same place.
    fn allows_preflight(&self, request: &RequestView<'_>, method: &Method) -> bool {
        let is_allowed = |more: &Conditions| {
            more.method.as_ref().is_none_or(|wanted| wanted == method)
                && more.query.iter().all(|query| query.matches(query_values(request.query)))
        };
        self.path.matches(request.path) && self.conditions.as_deref().is_none_or(is_allowed)
    }

    fn matches(&self, request: &RequestView<'_>) -> Verdict {
        if !self.path.matches(request.path) {
            return Verdict::No;
        }
        self.conditions.as_ref().map_or(Verdict::Yes, |more| more.hold(request))
    }
}

impl Conditions {
    /// Them, to be shared, or nothing where there are none.
    pub fn shared(self) -> Option<Arc<Self>> {
        let Self { method, headers, model, base_model, query, cookies } = &self;
        let is_none = method.is_none() && model.is_none() && base_model.is_none();
        let is_empty = is_none && headers.is_empty() && query.is_empty() && cookies.is_empty();
        (!is_empty).then(|| Arc::new(self))
    }

    fn hold(&self, request: &RequestView<'_>) -> Verdict {
        let head = self.method.as_ref().is_none_or(|method| method == request.method)
            && self.headers.iter().all(|header| header.matches(request.headers))
            && self.query.iter().all(|query| query.matches(query_values(request.query)))
            && (self.cookies.is_empty() || self.cookies.iter().all(|cookie| cookie.matches(cookie_values(request.headers))));
        match (head, request.body) {
            (false, _) => Verdict::No,
            (true, _) if self.model.is_none() && self.base_model.is_none() => Verdict::Yes,
            (true, Body::Unread) => Verdict::DependsOnBody,
            (true, Body::Read { model, base_model }) => {
                let holds = |condition: &Option<ValueMatch>, value: Option<&str>| {
                    condition.as_ref().is_none_or(|condition| value.is_some_and(|value| condition.matches(value)))
                };
                if holds(&self.model, model) && holds(&self.base_model, base_model) { Verdict::Yes } else { Verdict::No }
            }
        }
    }
}

/// A condition on the path. Short paths, which most are, are held in place: of the matches of a host name all are looked at.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// Just this path.
    Exact(SmolStr),
    /// This path and what lies under it, element by element: `/v1` matches `/v1` and `/v1/x`, not `/v1beta`. Held without
    /// trailing slash; `/` is held as the empty string.
    Prefix(SmolStr),
    /// The whole path matches.
    Regex(Arc<Regex>),
}

impl PathMatch {
    /// Whether both are one condition. Expressions are compared by identity.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other)) | (Self::Prefix(one), Self::Prefix(other)) => one == other,
            (Self::Regex(one), Self::Regex(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    fn may_match_under(&self, base: &str) -> bool {
        let is_under =
            |path: &str, base: &str| path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        match self {
            Self::Exact(exact) => is_under(exact, base),
            Self::Prefix(prefix) => is_under(prefix, base) || is_under(base, prefix),
            Self::Regex(_) => true,
        }
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

/// A condition on a value. Regular expressions are anchored at both ends by the compiler.
#[derive(Clone, Debug)]
pub enum ValueMatch {
    /// Just this value.
    Exact(Arc<str>),
    /// The value begins with this.
    Prefix(Arc<str>),
    /// The value ends with this.
    Suffix(Arc<str>),
    /// The whole value matches.
    Regex(Regex),
}

impl ValueMatch {
    /// The value, where there is just one.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(exact) => Some(exact),
            Self::Prefix(_) | Self::Suffix(_) | Self::Regex(_) => None,
        }
    }

    /// Whether the condition holds.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *value,
            Self::Prefix(prefix) => value.starts_with(&**prefix),
            Self::Suffix(suffix) => value.ends_with(&**suffix),
            Self::Regex(regex) => regex.is_match(value),
        }
    }
}

/// Regular expressions are compared by their text.
impl PartialEq for ValueMatch {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(other))
            | (Self::Prefix(one), Self::Prefix(other))
            | (Self::Suffix(one), Self::Suffix(other)) => one == other,
            (Self::Regex(one), Self::Regex(other)) => one.as_str() == other.as_str(),
            _ => false,
        }
    }
}

impl Eq for ValueMatch {}

/// A condition on a header.
#[derive(Clone, Debug)]
pub struct HeaderMatch {
    /// Its name.
    pub name: HeaderName,
    /// Its value; several headers of the name count as one, joined by commas (RFC 9110, 5.3).
    pub value: ValueMatch,
}

impl HeaderMatch {
    pub(crate) fn matches(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        let Some(first) = values.next() else { return false };
        let Some(second) = values.next() else { return first.to_str().is_ok_and(|value| self.value.matches(value)) };
        let parts: Result<Vec<_>, _> = [first, second].into_iter().chain(values).map(|value| value.to_str()).collect();
        parts.is_ok_and(|parts| self.value.matches(&parts.join(",")))
    }
}

/// A condition on a named value: a query parameter or a cookie.
#[derive(Clone, Debug)]
pub struct QueryMatch {
    /// Its name, case-sensitive.
    pub name: Arc<str>,
    /// Its value, case-sensitive.
    pub value: ValueMatch,
}

impl QueryMatch {
    pub(crate) fn matches<'a>(&self, mut values: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
        values.find(|(name, _)| **name == *self.name).is_some_and(|(_, value)| self.value.matches(value))
    }
}

/// Names and values of a query string, as they stand (not decoded, as in Envoy).
pub(crate) fn query_values(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

pub(crate) fn cookie_values(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let cookies = headers.get_all(http::header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}
