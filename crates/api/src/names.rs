//! Strings with a syntax: a value of one of these types has been checked.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

/// A string that does not have the syntax its field asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidString {
    /// The part of the text that may be shown.
    quote: Option<String>,
    expected: &'static str,
}

impl fmt::Display for InvalidString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.quote {
            Some(quote) => write!(f, "{quote:?} is not {}", self.expected),
            None => write!(f, "the value, which is not shown, is not {}", self.expected),
        }
    }
}

macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident, $check:ident, $expected:expr) => {
        checked_string!($(#[$doc])* $name, $check, $expected, whole);
    };
    ($(#[$doc:meta])* $name:ident, $check:ident, $expected:expr, $quote:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidString;
            fn try_from(value: String) -> Result<Self, InvalidString> {
                if $check(&value) { Ok(Self(value)) } else { Err(InvalidString { quote: $quote(value), expected: $expected }) }
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidString;
            fn try_from(value: &str) -> Result<Self, InvalidString> {
                Self::try_from(value.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

checked_string!(
    /// A lower-case DNS name that may begin with the wildcard label `*.`.
    Hostname,
    is_hostname,
    "a hostname: lower-case DNS labels separated by dots, optionally after a leading '*.' (at most 253 characters)"
);
checked_string!(
    /// A lower-case DNS name without a wildcard.
    PreciseHostname,
    is_dns_subdomain,
    "a hostname: lower-case DNS labels separated by dots, no wildcard (at most 253 characters)"
);
checked_string!(
    /// The name of a listener, of a route's rule or of a Service's port.
    SectionName,
    is_dns_subdomain,
    "a section name: lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit"
);
checked_string!(
    /// An object's name inside a reference; 1 to 253 characters.
    ObjectName,
    is_object_name,
    "an object name (1 to 253 characters)"
);
checked_string!(
    /// A namespace's name: a DNS label.
    NamespaceName,
    is_dns_label,
    "a namespace: lower-case letters, digits and '-', at most 63 characters"
);
checked_string!(
    /// An API group; empty means the core group.
    GroupName,
    is_group,
    "an API group: a DNS name such as 'gateway.networking.k8s.io', or empty for the core group"
);
checked_string!(
    /// A kind, such as `Service`.
    KindName,
    is_kind,
    "a kind: letters, digits and '-', beginning with a letter, at most 63 characters"
);
checked_string!(
    /// An HTTP field name, in the case in which it was written. Compare without regard to case.
    HeaderName,
    is_header_name,
    "a header name: letters, digits and !#$%&'*+-.^_`|~, at most 256 characters",
    legal_part
);
checked_string!(
    /// A value for an HTTP field: visible ASCII with inner single spaces or tabs.
    HeaderValue,
    is_header_value,
    "a header value: 1 to 4096 visible ASCII characters, with no leading, trailing or doubled blanks",
    nothing
);

/// Whether `text` is a DNS subdomain (RFC 1123), as `metadata.name` must be.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_part)
}

/// Whether `text` is a DNS label (RFC 1123), as a namespace must be.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_part(text)
}

fn is_dns_part(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    alphanumeric(first) && alphanumeric(last) && bytes.iter().all(|&byte| alphanumeric(byte) || byte == b'-')
}

fn is_hostname(text: &str) -> bool {
    text.len() <= 253 && is_dns_subdomain(text.strip_prefix("*.").unwrap_or(text))
}

fn is_object_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
}

fn is_group(text: &str) -> bool {
    text.is_empty() || is_dns_subdomain(text)
}

fn is_kind(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() <= 63
        && first.is_ascii_alphabetic()
        && last.is_ascii_alphanumeric()
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

fn is_header_name(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(is_token)
}

/// Whether a byte can stand in a header's name (RFC 9110, `tchar`).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_header_value(text: &str) -> bool {
    let blank = |byte: u8| byte == b' ' || byte == b'\t';
    let bytes = text.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return false };
    bytes.len() <= 4096
        && !blank(first)
        && !blank(last)
        && bytes.iter().all(|&byte| byte.is_ascii_graphic() || blank(byte))
        && !bytes.windows(2).any(|pair| pair.iter().all(|&byte| blank(byte)))
}

/// Error texts quote the value; a huge one would bury the message.
fn whole(mut value: String) -> Option<String> {
    const LIMIT: usize = 80;
    if value.len() > LIMIT {
        value.truncate(value.floor_char_boundary(LIMIT));
        value.push('…');
    }
    Some(value)
}

/// A header's value may be a credential.
fn nothing(_: String) -> Option<String> {
    None
}

/// Somebody may have written name and value into one field.
fn legal_part(mut value: String) -> Option<String> {
    if let Some(wrong) = value.bytes().position(|byte| !is_token(byte)) {
        value.truncate(wrong);
        value.push('…');
    }
    whole(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_take_one_leading_wildcard() {
        for good in ["a", "example.com", "*.example.com", "1.2.3.4", "a-b.c"] {
            assert!(Hostname::try_from(good).is_ok(), "{good}");
        }
        for bad in ["", "*", "*.", "Example.com", "a..b", "-a", "a-", "a.*.b", "a_b", "**.a", "a:80"] {
            assert!(Hostname::try_from(bad).is_err(), "{bad}");
        }
        assert!(PreciseHostname::try_from("*.example.com").is_err());
    }

    #[test]
    fn header_values_are_visible_ascii() {
        assert!(HeaderValue::try_from("a b\tc").is_ok());
        for bad in ["", " a", "a ", "a  b", "é", "a\nb"] {
            assert!(HeaderValue::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_error_quotes_a_value_of_a_header() {
        let error = HeaderValue::try_from("Bearer  sk-1").unwrap_err().to_string();
        assert!(error.starts_with("the value, which is not shown, is not a header value: "), "{error}");
        let error = HeaderName::try_from("Authorization: Bearer sk-1").unwrap_err().to_string();
        assert!(error.starts_with("\"Authorization…\" is not a header name: "), "{error}");
    }

    #[test]
    fn an_error_quotes_a_bounded_part_of_the_value() {
        let error = KindName::try_from("é".repeat(5_000)).unwrap_err().to_string();
        assert!(error.len() < 400, "{error}");
        assert_eq!(
            NamespaceName::try_from("My_NS").unwrap_err().to_string(),
            "\"My_NS\" is not a namespace: lower-case letters, digits and '-', at most 63 characters"
        );
    }
}
