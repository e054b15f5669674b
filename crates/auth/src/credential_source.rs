//! Parts of a request's head that a credential stands in.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::PathAndQuery};
use percent_encoding::percent_decode_str;

use crate::cookie::text_cookies;

/// A header, a query parameter or a cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    /// A header, and a prefix of its value that is not part of the credential.
    Header {
        /// Name of the header.
        name: HeaderName,
        /// Prefix, byte for byte.
        prefix: Box<str>,
        /// A value without the prefix is no credential; otherwise it is one as it stands.
        is_prefix_required: bool,
    },
    /// A parameter of the query, its value percent-decoded.
    Query(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
}

impl CredentialSource {
    /// The credential of a request, if it has one here that is not empty. Of several headers or parameters of the name the first counts.
    pub fn find<'r>(&self, headers: &'r HeaderMap, query: Option<&'r str>) -> Option<Cow<'r, [u8]>> {
        match self {
            Self::Header { name, prefix, is_prefix_required } => {
                let value = headers.get(name)?.as_bytes();
                let credential = match value.strip_prefix(prefix.as_bytes()) {
                    Some(rest) => rest,
                    None if *is_prefix_required => return None,
                    None => value,
                };
                Some(Cow::Borrowed(credential))
            }
            Self::Query(name) => query_values(query?, name).next(),
            Self::Cookie(name) => cookie(headers, name).map(|value| Cow::Borrowed(value.as_bytes())),
        }
        .filter(|credential| !credential.is_empty())
    }

    /// The header's name, where it is one.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header { name, .. } => Some(name.as_str()),
            Self::Query(_) | Self::Cookie(_) => None,
        }
    }

    /// The parameter's name, where it is one.
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::Query(name) => Some(name),
            Self::Header { .. } | Self::Cookie(_) => None,
        }
    }

    /// Removes the credential: every header, parameter or cookie of the name.
    pub fn remove(&self, headers: &mut HeaderMap, uri: &mut Uri) {
        match self {
            Self::Header { name, .. } => {
                headers.remove(name);
            }
            Self::Query(name) => remove_query(uri, name),
            Self::Cookie(name) => remove_cookie(headers, name),
        }
    }
}

/// All values of a query's parameter, percent-decoded.
pub fn query_values<'r>(query: &'r str, name: &str) -> impl Iterator<Item = Cow<'r, [u8]>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.filter(move |(key, _)| is_name(key, name)).map(|(_, value)| percent_decode_str(value).into())
}

fn is_name(key: &str, name: &str) -> bool {
    percent_decode_str(key).eq(name.bytes())
}

/// The first cookie of a name (RFC 6265, section 5.4), without quotes around its value.
pub(crate) fn cookie<'r>(headers: &'r HeaderMap, name: &str) -> Option<&'r str> {
    let (_, value) = text_cookies(headers).find(|(key, _)| *key == name)?;
    Some(value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value))
}

fn remove_query(uri: &mut Uri, name: &str) {
    let Some(query) = uri.query().filter(|query| query_values(query, name).next().is_some()) else { return };
    let rest: Vec<_> = query.split('&').filter(|pair| !is_name(pair.split_once('=').map_or(pair, |(key, _)| key), name)).collect();
    let path = match rest.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), rest.join("&")),
    };
    // A part of what was valid is valid.
    let Ok(path) = PathAndQuery::try_from(path) else { return };
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(path);
    *uri = Uri::from_parts(parts).unwrap_or_default();
}

fn remove_cookie(headers: &mut HeaderMap, name: &str) {
    if !headers.contains_key(header::COOKIE) {
        return;
    }
    let is_other = |pair: &&[u8]| pair.split(|byte| *byte == b'=').next().is_none_or(|key| key.trim_ascii() != name.as_bytes());
    let lines: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    headers.remove(header::COOKIE);
    for line in lines {
        let rest: Vec<_> = line.as_bytes().split(|byte| *byte == b';').filter(is_other).map(<[u8]>::trim_ascii).collect();
        let rest = rest.join(&b"; "[..]);
        if let Some(value) = HeaderValue::from_bytes(&rest).ok().filter(|_| !rest.is_empty()) {
            headers.append(header::COOKIE, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn header(name: &'static str, is_prefix_required: bool) -> CredentialSource {
        CredentialSource::Header { name: HeaderName::from_static(name), prefix: "Bearer ".into(), is_prefix_required }
    }

    #[test]
    fn a_prefix_is_cut_off_and_may_be_required() {
        let map = headers(&[("authorization", "Bearer k"), ("x-api-key", "k"), ("x-empty", "Bearer "), ("x-lower", "bearer k")]);
        assert_eq!(header("authorization", true).find(&map, None).as_deref(), Some(&b"k"[..]));
        assert_eq!(header("x-api-key", false).find(&map, None).as_deref(), Some(&b"k"[..]));
        assert_eq!(header("x-api-key", true).find(&map, None), None);
        assert_eq!(header("x-empty", false).find(&map, None), None);
        assert_eq!(header("x-lower", true).find(&map, None), None);
        assert_eq!(header("x-missing", false).find(&map, None), None);
    }

    #[test]
    fn a_parameter_is_decoded_and_removed_with_all_its_namesakes() {
        let source = CredentialSource::Query("api key".into());
        let mut uri: Uri = "https://a.example/p?x=1&api%20key=a%2Bb+c&y&api%20key=z".parse().unwrap();
        assert_eq!(source.find(&HeaderMap::new(), uri.query()).as_deref(), Some(&b"a+b+c"[..]));
        source.remove(&mut HeaderMap::new(), &mut uri);
        assert_eq!(uri, "https://a.example/p?x=1&y");
        let mut only: Uri = "/p?api%20key=a".parse().unwrap();
        source.remove(&mut HeaderMap::new(), &mut only);
        assert_eq!(only, "/p");
        let mut other: Uri = "/p?".parse().unwrap();
        source.remove(&mut HeaderMap::new(), &mut other);
        assert_eq!(other, "/p?");
    }

    #[test]
    fn a_cookie_is_found_on_any_line_and_the_others_stay() {
        let source = CredentialSource::Cookie("key".into());
        let mut map = headers(&[("cookie", "a=1; b=x=y"), ("cookie", "key=\"k\"; c=3;key=other")]);
        assert_eq!(source.find(&map, None).as_deref(), Some(&b"k"[..]));
        source.remove(&mut map, &mut Uri::default());
        let lines: Vec<_> = map.get_all(header::COOKIE).iter().collect();
        assert_eq!(lines, ["a=1; b=x=y", "c=3"]);
        let mut only = headers(&[("cookie", "key=k")]);
        source.remove(&mut only, &mut Uri::default());
        assert!(only.is_empty());
    }
}
