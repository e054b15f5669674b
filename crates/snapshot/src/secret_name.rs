//! Names of headers, parameters and variables whose values may be credentials.

/// Words of names, between hyphens, underscores and dots, of which one is enough.
const WORDS: [&str; 20] = [
    "authorization",
    "auth",
    "cookie",
    "token",
    "key",
    "keys",
    "apikey",
    "secret",
    "secrets",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "credentials",
    "session",
    "signature",
    "assertion",
    "jwt",
    "otp",
    "sig",
];
/// Ends of names without hyphens.
const ENDS: [&str; 5] = ["apikey", "token", "secret", "password", "sessionid"];
/// Beginnings of values that are credentials, whatever the name, in lower case.
const BEGINNINGS: [&str; 7] = ["bearer ", "basic ", "digest ", "negotiate ", "sk-", "eyj", "pk-"];

/// Whether the values of this name may be credentials.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.split(['-', '_', '.']).any(|word| WORDS.contains(&word) || ENDS.iter().any(|end| word.ends_with(end)))
}

/// Whether a value begins as credentials do.
pub fn is_secret_value(value: &[u8]) -> bool {
    let begins_with =
        |beginning: &str| value.get(..beginning.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(beginning.as_bytes()));
    BEGINNINGS.into_iter().any(begins_with)
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
        for name in secret.into_iter().chain(more) {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["user-agent", "x-ratelimit-remaining-tokens", "x-author", "keyboard", "x-request-id", "POD_NAME", "x-monkey"] {
            assert!(!is_secret_name(name), "{name}");
        }
        for value in ["Bearer abc", "basic YTpi", "sk-abc", "eyJhbGciOi"] {
            assert!(is_secret_value(value.as_bytes()), "{value}");
        }
        assert!(!is_secret_value(b"curl/8") && !is_secret_value(b"s"));
    }
}
