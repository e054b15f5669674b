//! Names of headers, parameters and variables whose values may be credentials, and parts of URLs that may be.

/// Words of names, between hyphens, underscores and dots, of which one is enough.
const WORDS: [&str; 26] = [
    "authorization",
    "auth",
    "cookie",
    "cookies",
    "token",
    "key",
    "keys",
    "apikey",
    "secret",
    "secrets",
    "password",
    "passwd",
    "pwd",
    "pass",
    "passcode",
    "passphrase",
    "credential",
    "credentials",
    "session",
    "sid",
    "signature",
    "assertion",
    "jwt",
    "otp",
    "sig",
    "code",
];
/// Words beside which `code` is no credential: `X-Error-Code`.
const PLAIN_CODES: [&str; 5] = ["error", "status", "response", "country", "language"];
/// Headers whose values are URLs, or parts of them, in lower case: their queries may hold credentials.
const URL_HEADERS: [&str; 10] = [
    "referer",
    "location",
    "content-location",
    "refresh",
    "link",
    "x-forwarded-uri",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-envoy-original-path",
];
/// Ends of names without hyphens.
const ENDS: [&str; 5] = ["apikey", "token", "secret", "password", "sessionid"];
/// Beginnings of values that are credentials, whatever the name, in lower case.
const BEGINNINGS: [&str; 7] = ["bearer ", "basic ", "digest ", "negotiate ", "sk-", "eyj", "pk-"];

/// Whether the values of this name may be credentials.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = || name.split(['-', '_', '.']);
    let is_plain_code = || words().any(|word| PLAIN_CODES.contains(&word));
    words().any(|word| match word {
        "code" => !is_plain_code(),
        _ => WORDS.contains(&word) || ENDS.iter().any(|end| word.ends_with(end)),
    })
}

/// Whether a value begins as credentials do, or has a URL with a user's name or password.
pub fn is_secret_value(value: &[u8]) -> bool {
    let begins_with =
        |beginning: &str| value.get(..beginning.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(beginning.as_bytes()));
    BEGINNINGS.into_iter().any(begins_with) || has_userinfo(value)
}

/// A header's value as logs may have it: URLs end before their query and their fragment.
pub fn without_query_of_url<'v>(name: &str, value: &'v [u8]) -> &'v [u8] {
    if URL_HEADERS.iter().any(|known| name.eq_ignore_ascii_case(known)) { without_query(value) } else { value }
}

/// A URL, or a path, as far as its query or its fragment.
pub fn without_query(value: &[u8]) -> &[u8] {
    value.split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or_default()
}

/// Whether there is a URL with a user before its host (RFC 3986, 3.2.1).
fn has_userinfo(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some(at) = rest.windows(3).position(|window| window == b"://") {
        rest = &rest[at + 3..];
        let authority = rest.split(|byte| matches!(byte, b'/' | b'?' | b'#' | b' ' | b',' | b'"' | b'>')).next();
        if authority.is_some_and(|authority| authority.contains(&b'@')) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_of_credentials_are_known() {
        let secret =
            ["Authorization", "proxy-authorization", "cookie", "Set-Cookie", "x-api-key", "x-goog-api-key", "api-key", "key"];
        let more =
            ["x-auth-token", "x-amz-security-token", "access_token", "OPENAI_API_KEY", "x-apikey", "accessToken", "session.id"];
        let short = ["X-Cookies", "X-Access-Code", "code", "DB_PWD", "db.pass", "connect.sid"];
        for name in secret.into_iter().chain(more).chain(short) {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "user-agent",
            "x-ratelimit-remaining-tokens",
            "x-author",
            "keyboard",
            "x-request-id",
            "POD_NAME",
            "x-monkey",
            "x-error-code",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
        for value in ["Bearer abc", "basic YTpi", "sk-abc", "eyJhbGciOi"] {
            assert!(is_secret_value(value.as_bytes()), "{value}");
        }
        for value in ["curl/8", "s", "https://example.com/@user", "a@example.com", "mailto:a@b"] {
            assert!(!is_secret_value(value.as_bytes()), "{value}");
        }
        for value in ["postgres://u:pw@db/main", "see https://a/ or https://token@b", "amqp://u@h"] {
            assert!(is_secret_value(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn urls_of_headers_end_before_their_query() {
        let shown = |name, value: &'static str| str::from_utf8(without_query_of_url(name, value.as_bytes())).unwrap();
        assert_eq!(shown("Referer", "https://a/b?access_token=s#f"), "https://a/b");
        assert_eq!(shown("location", "/cb#access_token=s"), "/cb");
        assert_eq!(shown("x-envoy-original-path", "/before?key=s"), "/before");
        assert_eq!(shown("x-note", "why?"), "why?");
    }
}
