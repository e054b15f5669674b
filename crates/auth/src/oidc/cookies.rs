//! Cookies: those of a request, and those that a response sets or deletes. Source: RFC 6265.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};

use crate::cookie::text_cookies;

/// Most cookies of a request that are looked at.
const MAX_COOKIES: usize = 512;
/// Longest value of a cookie, in bytes: browsers drop a cookie of more than 4096 bytes with its name and attributes.
const MAX_VALUE: usize = 3800;
/// Most cookies that a long value is spread over.
const MAX_PARTS: usize = 8;

/// Attribute `SameSite` of cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// Sent with navigation from other sites.
    #[default]
    Lax,
    /// Sent from the site itself only.
    Strict,
    /// Sent from everywhere.
    None,
}

/// Attributes that all cookies of a policy have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CookieAttributes {
    /// `SameSite`.
    pub same_site: SameSite,
    /// `Domain`; `None` limits cookies to the host.
    pub domain: Option<Box<str>>,
}

/// The cookies of a request.
#[derive(Debug)]
pub(super) struct Cookies<'r>(Vec<(&'r str, &'r str)>);

impl<'r> Cookies<'r> {
    pub(super) fn read(headers: &'r HeaderMap) -> Self {
        Self(text_cookies(headers).take(MAX_COOKIES).collect())
    }

    /// The first cookie of a name.
    pub(super) fn find(&self, name: &str) -> Option<&'r str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    /// A value that may be spread over several cookies.
    pub(super) fn joined(&self, name: &str) -> Option<Cow<'r, str>> {
        let first = self.find(name)?;
        if self.find(&part_name(name, 1)).is_none() {
            return Some(Cow::Borrowed(first));
        }
        let rest = (1..MAX_PARTS).map_while(|at| self.find(&part_name(name, at)));
        Some(Cow::Owned(std::iter::once(first).chain(rest).collect()))
    }

    /// Names of the cookies that begin with a prefix, each with the rest of its name.
    pub(super) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = &'r str> {
        self.0.iter().filter_map(move |(name, _)| name.strip_prefix(prefix))
    }

    fn parts(&self, name: &str) -> usize {
        (0..MAX_PARTS).take_while(|at| self.find(&part_name(name, *at)).is_some()).count()
    }
}

/// Whether a cookie of the request is this one, or a part of it.
pub(super) fn is_part(cookie: &str, name: &str) -> bool {
    let Some(rest) = cookie.strip_prefix(name) else { return false };
    rest.is_empty() || rest.strip_prefix('.').and_then(|at| at.parse::<usize>().ok()).is_some_and(|at| at < MAX_PARTS)
}

fn part_name(name: &str, at: usize) -> String {
    if at == 0 { name.to_owned() } else { format!("{name}.{at}") }
}

/// A value too long for the cookies that it may be spread over, or that cannot stand in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unfit;

/// The cookies that a response sets and deletes.
#[derive(Debug)]
pub(super) struct NewCookies<'a> {
    attributes: &'a CookieAttributes,
    lines: Vec<HeaderValue>,
}

impl<'a> NewCookies<'a> {
    pub(super) fn new(attributes: &'a CookieAttributes) -> Self {
        Self { attributes, lines: Vec::new() }
    }

    /// Sets a cookie, or as many as the value needs. Deletes further ones that the request had of an earlier value.
    pub(super) fn set(&mut self, before: &Cookies<'_>, name: &str, value: &str, max_age: u64) -> Result<(), Unfit> {
        let is_cookie_octet = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\');
        if value.is_empty() || value.len() > MAX_VALUE * MAX_PARTS || !value.bytes().all(is_cookie_octet) {
            return Err(Unfit);
        }
        let mut count = 0;
        for part in value.as_bytes().chunks(MAX_VALUE) {
            let part = std::str::from_utf8(part).map_err(|_| Unfit)?;
            self.push(&part_name(name, count), part, &format!("Max-Age={max_age}"), self.attributes.same_site)?;
            count += 1;
        }
        (count..before.parts(name)).for_each(|at| self.delete_one(&part_name(name, at)));
        Ok(())
    }

    /// Sets the cookie of a login under way. It has to come back with a navigation from the provider's site, as a `Strict` one would not.
    pub(super) fn set_for_login(&mut self, name: &str, value: &str, max_age: u64) -> Result<(), Unfit> {
        let same_site = if self.attributes.same_site == SameSite::None { SameSite::None } else { SameSite::Lax };
        self.push(name, value, &format!("Max-Age={max_age}"), same_site)
    }

    /// Deletes a cookie with all parts that the request has.
    pub(super) fn delete(&mut self, before: &Cookies<'_>, name: &str) {
        (0..before.parts(name)).for_each(|at| self.delete_one(&part_name(name, at)));
    }

    /// Deletes one cookie.
    pub(super) fn delete_one(&mut self, name: &str) {
        // A name that cannot stand in a header is no cookie's of ours.
        let _ = self.push(name, "deleted", "expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0", self.attributes.same_site);
    }

    pub(super) fn into_lines(self) -> Vec<HeaderValue> {
        self.lines
    }

    fn push(&mut self, name: &str, value: &str, age: &str, same_site: SameSite) -> Result<(), Unfit> {
        let domain = self.attributes.domain.as_ref().map(|domain| format!("; domain={domain}")).unwrap_or_default();
        let same_site = match same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        };
        let line = format!("{name}={value}; path=/; {age}{domain}; secure; HttpOnly; SameSite={same_site}");
        let mut line = HeaderValue::try_from(line).map_err(|_| Unfit)?;
        line.set_sensitive(true);
        self.lines.push(line);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn request(lines: &[HeaderValue]) -> HeaderMap {
        let pair = |line: &HeaderValue| line.to_str().unwrap().split(';').next().unwrap().to_owned();
        let pairs: Vec<_> = lines.iter().map(pair).filter(|pair| !pair.ends_with("=deleted")).collect();
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(pairs.join("; ")).unwrap())])
    }

    #[test]
    fn a_long_value_is_spread_over_cookies_that_a_browser_keeps() {
        let attributes = CookieAttributes::default();
        let none = HeaderMap::new();
        let long: String = ('a'..='z').cycle().take(10_000).collect();
        let mut cookies = NewCookies::new(&attributes);
        cookies.set(&Cookies::read(&none), "IdToken-x", &long, 60).unwrap();
        let lines = cookies.into_lines();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() <= 4096));
        let headers = request(&lines);
        let before = Cookies::read(&headers);
        assert_eq!(before.joined("IdToken-x").as_deref(), Some(&*long));
        // A shorter value leaves none of the longer one behind.
        let mut cookies = NewCookies::new(&attributes);
        cookies.set(&before, "IdToken-x", "short", 60).unwrap();
        let texts: Vec<_> = cookies.into_lines().iter().map(|line| line.to_str().unwrap().to_owned()).collect();
        assert!(texts[0].starts_with("IdToken-x=short; path=/; Max-Age=60; secure; HttpOnly; SameSite=Lax"), "{}", texts[0]);
        assert!(texts[1].starts_with("IdToken-x.1=deleted") && texts[2].starts_with("IdToken-x.2=deleted"), "{texts:?}");
        assert!(is_part("IdToken-x.7", "IdToken-x") && !is_part("IdToken-x.8", "IdToken-x") && !is_part("IdToken-xy", "IdToken-x"));
    }

    #[test]
    fn what_no_cookie_can_hold_is_refused() {
        let (attributes, none) = (CookieAttributes::default(), HeaderMap::new());
        let mut cookies = NewCookies::new(&attributes);
        for value in ["", "a b", "a;b", "a\"b", "ä", &"a".repeat(MAX_VALUE * MAX_PARTS + 1)] {
            assert_eq!(cookies.set(&Cookies::read(&none), "n", value, 1), Err(Unfit));
        }
        assert!(cookies.into_lines().is_empty());
    }
}
