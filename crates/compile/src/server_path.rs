//! Paths at which authorization servers are asked.

use crate::status::Problem;

/// A prefix without the slash at its end. It must not lead out of itself.
pub(crate) fn prefix(path: &str) -> Result<Box<str>, Problem> {
    let wrong = |what: &str| Err(Problem::accepted("UnsupportedValue", format!("http.path: {path:?} {what}")));
    let path = path.trim_end_matches('/');
    let climbs = |segment: &str| matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | "..");
    if path.is_empty() {
        return Ok("".into());
    }
    if !path.starts_with('/') {
        return wrong("has to begin with a slash");
    }
    if path.contains("//") || path.split('/').any(climbs) {
        return wrong("must have no empty element, and none of dots alone");
    }
    if http::uri::PathAndQuery::try_from(path).ok().is_none_or(|parsed| parsed.as_str() != path || parsed.query().is_some()) {
        return wrong("is no path");
    }
    Ok(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_path_that_does_not_lead_out_of_itself() {
        for (path, expected) in [("", Some("")), ("/", Some("")), ("/check", Some("/check")), ("/a/b/", Some("/a/b"))] {
            assert_eq!(prefix(path).ok().as_deref(), expected, "{path}");
        }
        for path in ["check", "/a/../b", "/a//b", "/%2E%2e/b", "/a?b", "/a b", "/a/."] {
            assert!(prefix(path).is_err(), "{path}");
        }
    }
}
