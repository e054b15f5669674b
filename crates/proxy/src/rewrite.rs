//! Rewrites of paths and hosts.

use std::borrow::Cow;

use http::{Uri, uri::PathAndQuery};
use pailou_snapshot::{PathMatch, PathRewrite};

/// The path as a rewrite makes it; the query is not part of it. `matched` is the path condition of the rule that answers.
pub(crate) fn path<'a>(rewrite: &'a PathRewrite, matched: &PathMatch, path: &'a str) -> Cow<'a, str> {
    match rewrite {
        PathRewrite::Full(new) if new.is_empty() => Cow::Borrowed("/"),
        PathRewrite::Full(new) => Cow::Borrowed(new),
        PathRewrite::Prefix(new) => {
            let PathMatch::Prefix(prefix) = matched else { return Cow::Borrowed(path) };
            Cow::Owned(replace_prefix(path, prefix, new))
        }
        PathRewrite::Regex(pattern, substitution) => match pattern.replace_all(path, &**substitution) {
            Cow::Borrowed(path) => Cow::Borrowed(path),
            Cow::Owned(path) if path.starts_with('/') => Cow::Owned(path),
            Cow::Owned(path) => Cow::Owned(format!("/{path}")),
        },
    }
}

/// Gateway API's table for ReplacePrefixMatch: slashes at the seam never double, and a path is never empty.
fn replace_prefix(path: &str, prefix: &str, new: &str) -> String {
    let rest = path.strip_prefix(prefix).unwrap_or(path);
    let rewritten = if rest.is_empty() { new.to_owned() } else { [new.trim_end_matches('/'), rest].concat() };
    if rewritten.starts_with('/') { rewritten } else { format!("/{rewritten}") }
}

/// A URI's path replaced, its query kept, behind that of the new path where it has one. `None` where the new path cannot stand in a URI.
pub(crate) fn with_path(uri: &Uri, path: &str) -> Option<PathAndQuery> {
    match uri.query() {
        Some(query) => PathAndQuery::try_from(with_query(path, query)).ok(),
        None => PathAndQuery::try_from(path).ok(),
    }
}

/// A path, which may have a query, with one more query.
pub(crate) fn with_query(path: &str, query: &str) -> String {
    let between = match path.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) if query.is_empty() => "",
        Some(_) => "&",
    };
    [path, between, query].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_replaced_as_the_specification_lists() {
        // Request, prefix (held without trailing slash), replacement, result.
        let table = [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/v1/chat/completions", "/v1", "/compatible-mode/v1", "/compatible-mode/v1/chat/completions"),
            ("/a", "", "/b", "/b/a"),
        ];
        for (request, prefix, new, expected) in table {
            assert_eq!(replace_prefix(request, prefix, new), expected, "{request} {prefix} {new}");
        }
    }

    #[test]
    fn the_query_stays() {
        let uri = Uri::from_static("http://a/old?x=1&y=/v1");
        assert_eq!(with_path(&uri, "/new").unwrap(), "/new?x=1&y=/v1");
        assert_eq!(with_path(&Uri::from_static("/old"), "/new").unwrap(), "/new");
        assert!(with_path(&uri, "/a b").is_none());
        assert_eq!(with_path(&uri, "/new?version=2").unwrap(), "/new?version=2&x=1&y=/v1");
        assert_eq!(with_path(&uri, "/new?").unwrap(), "/new?x=1&y=/v1");
        assert_eq!(with_path(&Uri::from_static("/old?"), "/new?a").unwrap(), "/new?a");
    }

    #[test]
    fn a_pattern_can_name_groups() {
        let rewrite = PathRewrite::Regex(regex::Regex::new("^/models/([^/]+)/").unwrap(), "/${1}/v1/".into());
        assert_eq!(path(&rewrite, &PathMatch::Prefix("".into()), "/models/qwen/chat"), "/qwen/v1/chat");
    }
}
