//! Users and passwords. Source: RFC 7617 and Envoy Gateway's SecurityPolicy `basicAuth`; bcrypt beside its `{SHA}`.

use std::{collections::HashMap, fmt, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, header};
use parking_lot::Mutex;
use ring::digest;
use subtle::ConstantTimeEq;

use crate::{Denial, denial::realm};

/// Most passwords that are remembered as right, for each policy.
const MAX_REMEMBERED: usize = 1024;
/// Highest cost of a hash: about a second.
const MAX_BCRYPT_COST: u32 = 14;
/// Longest password that bcrypt reads whole, in bytes. A longer one is refused: bcrypt would ignore its rest.
const MAX_BCRYPT_PASSWORD: usize = 72;

/// Settings of `basicAuth`.
#[derive(Clone, Debug)]
pub struct BasicAuth {
    /// Header that the backend gets the user's name in.
    pub username_header: Option<HeaderName>,
    /// Users.
    pub users: Arc<Users>,
}

/// Users by name, with hashes of their passwords.
#[derive(Default)]
pub struct Users {
    hashes: HashMap<Box<str>, PasswordHash>,
    /// The same hashes, for names that are not there.
    all: Vec<PasswordHash>,
    /// Digests of names and passwords that were right, since bcrypt takes a tenth of a second.
    remembered: Mutex<std::collections::HashSet<[u8; 32]>>,
}

#[derive(Clone)]
enum PasswordHash {
    Sha1([u8; digest::SHA1_OUTPUT_LEN]),
    Bcrypt(Box<str>),
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.hashes.len())
    }
}

/// A line of a password file that gives no user. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HtpasswdError {
    /// No colon, or no name before it.
    #[error("line {0}: write NAME:HASH")]
    Form(usize),
    /// A hash that is neither SHA-1 nor bcrypt.
    #[error(
        "line {0}: the hash is neither {{SHA}} nor bcrypt ($2a$, $2b$, $2y$) of a cost up to 14: make it with `htpasswd -B` or `htpasswd -s`"
    )]
    Hash(usize),
    /// No user.
    #[error("there is no user")]
    Empty,
}

/// Outcome of a look at a request's password.
pub enum PasswordCheck<'a> {
    /// The password of this user is right.
    User(&'a str),
    /// Only an expensive computation tells. It belongs on a thread of its own.
    Expensive(ExpensiveCheck),
}

impl Users {
    /// Reads a password file: `NAME:HASH` a line; empty lines, comments (`#`) and CRLF are fine. Of two lines of one name the first counts.
    ///
    /// # Errors
    /// The first line that gives no user.
    pub fn parse(file: &str) -> Result<Self, HtpasswdError> {
        let mut hashes = HashMap::new();
        for (at, line) in file.lines().enumerate().map(|(at, line)| (at + 1, line.trim())) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, hash) = line.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or(HtpasswdError::Form(at))?;
            let hash = PasswordHash::parse(hash).ok_or(HtpasswdError::Hash(at))?;
            hashes.entry(name.into()).or_insert(hash);
        }
        if hashes.is_empty() {
            return Err(HtpasswdError::Empty);
        }
        let all = hashes.values().cloned().collect();
        Ok(Self { hashes, all, remembered: Mutex::default() })
    }

    /// The user of this name, if there is one, and the hash to compare a password with. A name that is not there has the hash of somebody: it
    /// is compared, so that the time of an answer does not tell who is there.
    fn find(&self, name: &str) -> Option<(Option<&str>, &PasswordHash)> {
        if let Some((name, hash)) = self.hashes.get_key_value(name) {
            return Some((Some(name), hash));
        }
        let digest = digest::digest(&digest::SHA256, name.as_bytes());
        let place = usize::from(u16::from_le_bytes([digest.as_ref()[0], digest.as_ref()[1]])) % self.all.len().max(1);
        self.all.get(place).map(|hash| (None, hash))
    }

    fn remember(&self, key: [u8; 32]) {
        let mut remembered = self.remembered.lock();
        // Random order: there is nothing to gain by a better choice.
        if remembered.len() >= MAX_REMEMBERED
            && let Some(other) = remembered.iter().next().copied()
        {
            remembered.remove(&other);
        }
        remembered.insert(key);
    }
}

impl PasswordHash {
    fn parse(text: &str) -> Option<Self> {
        if let Some(encoded) = text.strip_prefix("{SHA}") {
            return BASE64_STANDARD.decode(encoded).ok()?.try_into().ok().map(Self::Sha1);
        }
        let is_bcrypt = ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix));
        // The parts are checked now, so that a request meets no malformed hash.
        let parts = text.parse::<bcrypt::HashParts>().ok().filter(|_| is_bcrypt)?;
        (parts.get_cost() <= MAX_BCRYPT_COST).then(|| Self::Bcrypt(text.into()))
    }
}

impl BasicAuth {
    /// Looks at a request's name and password. `url` is scheme, host, path and query, for the challenge.
    ///
    /// # Errors
    /// The response to a request without a name and password that are right.
    pub fn check(&self, headers: &HeaderMap, url: [&str; 3]) -> Result<PasswordCheck<'_>, Denial> {
        let denied = |message| denial(message, url);
        let header = headers
            .get(header::AUTHORIZATION)
            .ok_or_else(|| denied("User authentication failed. Missing username and password."))?;
        let (name, password) =
            read(header.as_bytes()).ok_or_else(|| denied("User authentication failed. Expected 'Basic' authentication scheme."))?;
        let wrong = || denied("User authentication failed. Invalid username/password combination.");
        let (user, hash) = self.users.find(&name).ok_or_else(wrong)?;
        match hash {
            PasswordHash::Sha1(expected) => {
                let actual = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &password);
                let is_right: bool = actual.as_ref().ct_eq(expected).into();
                user.filter(|_| is_right).map(PasswordCheck::User).ok_or_else(wrong)
            }
            PasswordHash::Bcrypt(hash) => {
                let key = key(&name, &password, hash);
                if let Some(user) = user
                    && self.users.remembered.lock().contains(&key)
                {
                    return Ok(PasswordCheck::User(user));
                }
                if password.len() > MAX_BCRYPT_PASSWORD {
                    return Err(wrong());
                }
                let check = ExpensiveCheck {
                    users: self.users.clone(),
                    user: user.map(Into::into),
                    password,
                    hash: hash.clone(),
                    key,
                    denial: wrong(),
                };
                Ok(PasswordCheck::Expensive(check))
            }
        }
    }
}

/// A password to compare with a hash of bcrypt: about 0.2 s at cost 12.
pub struct ExpensiveCheck {
    users: Arc<Users>,
    /// `None` where the name is not there.
    user: Option<Box<str>>,
    password: Vec<u8>,
    hash: Box<str>,
    key: [u8; 32],
    denial: Denial,
}

impl ExpensiveCheck {
    /// Compares; gives the user's name. A right password is remembered.
    ///
    /// # Errors
    /// The response to a wrong password.
    pub fn run(self) -> Result<Box<str>, Denial> {
        match (bcrypt::verify(&self.password, &self.hash), self.user) {
            (Ok(true), Some(user)) => {
                self.users.remember(self.key);
                Ok(user)
            }
            _ => Err(self.denial),
        }
    }
}

impl fmt::Debug for ExpensiveCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpensiveCheck").finish_non_exhaustive()
    }
}

fn denial(message: &'static str, [scheme, host, path]: [&str; 3]) -> Denial {
    Denial::unauthorized(message).with_challenge(format!("Basic realm={}", realm(scheme, host, path)))
}

/// Name and password of a header's value.
fn read(value: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = value.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let mut decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.pop();
    Some((String::from_utf8(decoded).ok()?, password))
}

fn key(name: &str, password: &[u8], hash: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    // The hash has a fixed length, the name no colon.
    for part in [hash.as_bytes(), name.as_bytes(), b":", password] {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// `password`, by `openssl sha1 -binary | base64`.
    const SHA: &str = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=";

    fn auth(file: &str) -> BasicAuth {
        BasicAuth { username_header: None, users: Arc::new(Users::parse(file).unwrap()) }
    }

    fn check(auth: &BasicAuth, user: &str) -> Result<String, Denial> {
        let value = HeaderValue::try_from(format!("basic {}", BASE64_STANDARD.encode(user))).unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        match auth.check(&headers, ["http", "a.example", "/x"])? {
            PasswordCheck::User(name) => Ok(name.to_owned()),
            PasswordCheck::Expensive(check) => check.run().map(|name| format!("{name} after a computation")),
        }
    }

    #[test]
    fn passwords_are_compared_with_both_kinds_of_hashes() {
        let hash = bcrypt::hash("pass:word", 4).unwrap();
        let auth = auth(&format!("# team\r\nred:{SHA}\r\n\r\nblue:{hash}\r\n"));
        assert_eq!(check(&auth, "red:password").unwrap(), "red");
        assert_eq!(check(&auth, "blue:pass:word").unwrap(), "blue after a computation");
        assert_eq!(check(&auth, "blue:pass:word").unwrap(), "blue");
        for wrong in ["red:x", "blue:password", "green:password", "red", &format!("blue:{}", "x".repeat(73))] {
            let denial = check(&auth, wrong).unwrap_err();
            assert_eq!(denial.status, 401);
            assert_eq!(denial.challenge.unwrap(), "Basic realm=\"http://a.example/x\"");
        }
    }

    #[test]
    fn a_stranger_is_compared_as_a_user_is_and_never_passes() {
        let hash = bcrypt::hash("password", 4).unwrap();
        let auth = auth(&format!("blue:{hash}"));
        let value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode("green:password"))).unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        // The password of the hash that a stranger is compared with is nobody's; and it is not remembered.
        for _ in 0..2 {
            let Ok(PasswordCheck::Expensive(check)) = auth.check(&headers, ["http", "a", "/"]) else { panic!("no computation") };
            assert!(check.run().is_err());
        }
        let auth = self::auth(&format!("red:{SHA}"));
        assert!(check(&auth, "green:password").is_err());
    }

    #[test]
    fn a_request_without_a_password_is_told_of_the_scheme() {
        let auth = auth(&format!("red:{SHA}"));
        let bearer = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))]);
        for headers in [HeaderMap::new(), bearer] {
            assert!(matches!(auth.check(&headers, ["http", "a", "/"]), Err(denial) if denial.challenge.is_some()));
        }
    }

    #[test]
    fn a_malformed_file_is_named_by_line() {
        let cases = [("", "there is no user"), ("\r\n# x", "there is no user"), ("red", "line 1: write NAME:HASH")];
        for (file, message) in cases {
            assert_eq!(Users::parse(file).unwrap_err().to_string(), message);
        }
        for hash in [
            "plain",
            "$2b$15$abcdefghijklmnopqrstuuK9Gm8gVhGk0ZLl3Hg5mCwNYkSJPJv2e",
            "$apr1$x$y",
            "$2y$12$short",
            "{SHA}x",
            "{SHA}",
            "$5$rounds=1$x",
        ] {
            assert_eq!(Users::parse(&format!("ok:{SHA}\nred:{hash}")).unwrap_err(), HtpasswdError::Hash(2), "{hash}");
        }
    }
}
