//! Rules that a request might have taken, and why it took one of them: for those who explain, never for those who serve.

use std::fmt::{self, Write as _};

use http::{HeaderMap, HeaderName, Method};

use super::{
    Conditions, PathMatch, RouteMatch, RouteTable, Rule,
    matching::{cookie_values, query_values},
};

/// Parts of a request that are known to those who explain; serving one, a gateway knows them all.
#[derive(Clone, Copy, Debug)]
pub struct KnownRequest<'a> {
    /// The host, in lower case and without port.
    pub host: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The path, normalised as the listener asks.
    pub path: &'a str,
    /// Headers and query; `None` where they have not been kept.
    pub rest: Option<(&'a HeaderMap, &'a str)>,
    /// The model that the body names.
    pub model: Option<&'a str>,
    /// The base model of it.
    pub base_model: Option<&'a str>,
}

/// A match of a rule, and why a request did not take it.
#[derive(Clone, Copy, Debug)]
pub struct Contender<'a> {
    /// The match.
    pub entry: &'a RouteMatch,
    /// Why not; `None` of the one that it took.
    pub miss: Option<Miss<'a>>,
}

/// Why a request did not take a match.
#[derive(Clone, Copy, Debug)]
pub enum Miss<'a> {
    /// Its path is another.
    Path,
    /// The method is another.
    Method(&'a Method),
    /// A header is not there, or has another value.
    Header(&'a HeaderName),
    /// The same of a query parameter.
    Query(&'a str),
    /// The same of a cookie.
    Cookie(&'a str),
    /// The body names another model, or none.
    Model,
    /// The same of the base model.
    BaseModel,
    /// One of its conditions on headers, query or cookies: which one is not known any more.
    Unseen(&'a Conditions),
    /// One that goes before it matches, too.
    Outranked,
    /// One that goes before it matches. Whether it does is not known any more.
    Later,
}

impl RouteTable {
    /// The matches that a request met in the order of precedence, at most `most` of them. `taken` is the rule that it took, where that is
    /// known; else the first that matches is.
    pub fn contenders<'a>(
        &'a self,
        request: &'a KnownRequest<'_>,
        taken: Option<&'a Rule>,
        most: usize,
    ) -> impl Iterator<Item = Contender<'a>> {
        let mut is_taken = false;
        self.entries_of(request.host).take(most).map(move |entry| {
            let miss = entry.miss(request);
            let is_other = || taken.is_some_and(|taken| !std::ptr::eq(taken, &*entry.rule));
            let miss = match miss {
                Some(miss) => Some(miss),
                None if is_taken && request.rest.is_none() && entry.unseen().is_some() => Some(Miss::Later),
                None if is_taken => Some(Miss::Outranked),
                // All that is known of the request meets it, and yet it was not taken: the rest did not.
                None if is_other() => Some(entry.unseen().map_or(Miss::Outranked, Miss::Unseen)),
                None => {
                    is_taken = true;
                    None
                }
            };
            Contender { entry, miss }
        })
    }
}

impl RouteMatch {
    /// Its conditions, where there are some on headers, query or cookies.
    fn unseen(&self) -> Option<&Conditions> {
        self.conditions.as_deref().filter(|more| !(more.headers.is_empty() && more.query.is_empty() && more.cookies.is_empty()))
    }

    /// The first condition that a request does not meet, as far as it is known.
    fn miss(&self, request: &KnownRequest<'_>) -> Option<Miss<'_>> {
        if !self.path.matches(request.path) {
            return Some(Miss::Path);
        }
        let more = self.conditions.as_deref()?;
        let method = more.method.as_ref().filter(|method| *method != request.method).map(Miss::Method);
        let model = |condition: &Option<super::ValueMatch>, value: Option<&str>, miss| {
            let condition = condition.as_ref()?;
            (!value.is_some_and(|value| condition.matches(value))).then_some(miss)
        };
        method
            .or_else(|| request.rest.and_then(|(headers, query)| more.miss(headers, query)))
            .or_else(|| model(&more.model, request.model, Miss::Model))
            .or_else(|| model(&more.base_model, request.base_model, Miss::BaseModel))
    }
}

impl Conditions {
    fn miss(&self, headers: &HeaderMap, query: &str) -> Option<Miss<'_>> {
        let header = self.headers.iter().find(|header| !header.matches(headers)).map(|header| Miss::Header(&header.name));
        let query = || self.query.iter().find(|it| !it.matches(query_values(query))).map(|it| Miss::Query(&it.name));
        let cookie = || self.cookies.iter().find(|it| !it.matches(cookie_values(headers))).map(|it| Miss::Cookie(&it.name));
        header.or_else(query).or_else(cookie)
    }
}

/// In words, for operators. Values are the configuration's; those of headers, query and cookies may be secrets, and are left out.
impl fmt::Display for RouteMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            PathMatch::Exact(path) => write!(f, "path = {path}")?,
            PathMatch::Prefix(prefix) if prefix.is_empty() => f.write_str("path /*")?,
            PathMatch::Prefix(prefix) => write!(f, "path {prefix}/*")?,
            PathMatch::Regex(regex) => write!(f, "path ~ {regex}")?,
        }
        let Some(more) = &self.conditions else { return Ok(()) };
        if let Some(method) = &more.method {
            write!(f, ", method {method}")?;
        }
        more.headers.iter().try_for_each(|header| write!(f, ", header {}", header.name))?;
        for (name, condition) in [("model", &more.model), ("base model", &more.base_model)] {
            if let Some(condition) = condition {
                write!(f, ", {name} {condition}")?;
            }
        }
        more.query.iter().try_for_each(|query| write!(f, ", query {}", query.name))?;
        more.cookies.iter().try_for_each(|cookie| write!(f, ", cookie {}", cookie.name))
    }
}

impl fmt::Display for super::ValueMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => write!(f, "= {exact}"),
            Self::Prefix(prefix) => write!(f, "= {prefix}*"),
            Self::Suffix(suffix) => write!(f, "= *{suffix}"),
            Self::Regex(regex) => write!(f, "~ {regex}"),
        }
    }
}

impl fmt::Display for Miss<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("the path is another"),
            Self::Method(method) => write!(f, "the method is not {method}"),
            Self::Header(name) => write!(f, "the header {name} is missing or has another value"),
            Self::Query(name) => write!(f, "the query parameter {name} is missing or has another value"),
            Self::Cookie(name) => write!(f, "the cookie {name} is missing or has another value"),
            Self::Model => f.write_str("the model is another, or none"),
            Self::BaseModel => f.write_str("the base model is another, or none"),
            Self::Unseen(conditions) => conditions.unseen(f),
            Self::Outranked => f.write_str("it matches too, and comes later in the order of precedence"),
            Self::Later => f.write_str("it comes later in the order of precedence"),
        }
    }
}

impl Conditions {
    fn unseen(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names = String::new();
        let headers = self.headers.iter().map(|header| ("header", header.name.as_str()));
        let query = self.query.iter().map(|query| ("query parameter", &*query.name));
        let cookies = self.cookies.iter().map(|cookie| ("cookie", &*cookie.name));
        for (kind, name) in headers.chain(query).chain(cookies) {
            let or = if names.is_empty() { "" } else { " or the " };
            write!(names, "{or}{kind} {name}")?;
        }
        write!(f, "the {names} is missing or has another value")
    }
}

#[cfg(test)]
mod tests;
