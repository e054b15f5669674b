//! API keys. Source: Envoy Gateway's SecurityPolicy `apiKeyAuth`.

use std::{fmt, sync::Arc};

use hashbrown::HashMap;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use ring::digest;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    CredentialSource, Denial,
    key_tag::{KeyTag, key_tag},
};

/// Prefix of a key's hash in a Secret.
pub const SHA256_PREFIX: &str = "sha256:";
/// Name of the client's id among its facts.
const CLIENT_ID: &str = "client_id";
/// Envoy's text for a client without a valid key.
const UNAUTHENTICATED: &str = "Client authentication failed.";

/// Settings of `apiKeyAuth`.
#[derive(Clone, Debug)]
pub struct ApiKeyAuth {
    /// Sources, in the order in which they are looked through. The first credential that is there decides.
    pub sources: Vec<CredentialSource>,
    /// Header that the backend gets the client's id in.
    pub client_id_header: Option<HeaderName>,
    /// The key is removed from the request.
    pub is_removed: bool,
    /// Keys.
    pub keys: Arc<ApiKeys>,
}

impl ApiKeyAuth {
    /// The key that a request bears. A key without an end asks for no time.
    ///
    /// # Errors
    /// The response to a request without a key, or with one that is unknown or expired. It does not say which.
    pub fn authenticate(&self, headers: &HeaderMap, query: Option<&str>, now: impl Fn() -> Timestamp) -> Result<&ApiKey, Denial> {
        let key = self.sources.iter().find_map(|source| source.find(headers, query));
        let found = key.and_then(|key| self.keys.find(&key)).filter(|key| key.expires.is_none_or(|expires| now() < expires));
        found.ok_or(Denial::unauthorized(UNAUTHENTICATED))
    }
}

/// SHA-256 of a key.
type KeyDigest = [u8; digest::SHA256_OUTPUT_LEN];

/// Keys by their digests. The keys themselves are not kept.
#[derive(Clone, Default)]
pub struct ApiKeys {
    keys: HashMap<KeyDigest, ApiKey>,
    /// Digests of keys that Secrets have as they are, by their tags: a digest costs a request more than all else that a key does. A key of
    /// which a Secret has the hash alone has no tag.
    digests: HashMap<KeyTag, KeyDigest>,
}

/// A key that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Id of the client that it belongs to.
    pub client: Arc<str>,
    /// The same as a header has it; `None` where it cannot stand in one.
    pub client_header: Option<HeaderValue>,
    /// Time from which it is not valid any more.
    pub expires: Option<Timestamp>,
    /// Facts of the client as its Secret has them: an object, or null.
    pub metadata: Arc<Value>,
    /// The same by name, and the client's id, for limits and rules. Requests share them.
    pub facts: Arc<[(Arc<str>, Arc<Value>)]>,
}

impl ApiKey {
    fn new(client: Arc<str>, expires: Option<Timestamp>, metadata: Value) -> Self {
        let members = metadata.as_object().into_iter().flatten();
        let members = members.map(|(name, value)| (name.as_str().into(), Arc::new(value.clone())));
        // The last one of a name counts.
        let id = (CLIENT_ID.into(), Arc::new(Value::from(&*client)));
        let facts = members.chain([id]).collect();
        let client_header = HeaderValue::from_str(&client).ok();
        Self { client, client_header, expires, metadata: Arc::new(metadata), facts }
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.keys.len())
    }
}

/// A value of a Secret that gives no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// The value is empty.
    #[error("the key is empty")]
    Empty,
    /// A JSON value without the fields of a key.
    #[error("the JSON value is no key: {0}")]
    Json(String),
    /// Neither a key nor a hash, or both.
    #[error("set one of key and keyHash")]
    NoKey,
    /// A hash of another form.
    #[error("keyHash: write sha256: and 64 hexadecimal digits")]
    Hash,
    /// `expires` is no time.
    #[error("expires: write a time of RFC 3339, such as 2027-01-31T00:00:00Z")]
    Expires,
    /// Two clients have one key.
    #[error("duplicated API key: client {0} has the same")]
    Duplicate(Arc<str>),
}

/// A key as a JSON object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KeyObject {
    key: Option<String>,
    key_hash: Option<String>,
    expires: Option<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
}

impl ApiKeys {
    /// Adds the keys of a client from a Secret's value: a key as it stands, a JSON object (`key` or `keyHash`, `expires`, `metadata`), or a
    /// list of such objects, so that a client can have a new key before the old one ends.
    ///
    /// # Errors
    /// The value is malformed, or another client has the key.
    pub fn add(&mut self, client: &str, value: &[u8]) -> Result<(), ApiKeyError> {
        let client: Arc<str> = client.into();
        match value.trim_ascii_start().first() {
            None => Err(ApiKeyError::Empty),
            Some(b'{') => self.add_object(client, from_json(value)?),
            Some(b'[') => from_json::<Vec<KeyObject>>(value)?.into_iter().try_for_each(|key| self.add_object(client.clone(), key)),
            Some(_) => self.insert_plain(value, ApiKey::new(client, None, Value::Null)),
        }
    }

    fn add_object(&mut self, client: Arc<str>, object: KeyObject) -> Result<(), ApiKeyError> {
        let expires = || object.expires.as_deref().map(str::parse).transpose().map_err(|_| ApiKeyError::Expires);
        let known = |expires| ApiKey::new(client, expires, Value::Object(object.metadata));
        match (object.key, object.key_hash) {
            (Some(key), None) if key.is_empty() => Err(ApiKeyError::Empty),
            (Some(key), None) => self.insert_plain(key.as_bytes(), known(expires()?)),
            (None, Some(hash)) => {
                let digest = parse_hash(&hash).ok_or(ApiKeyError::Hash)?;
                self.insert(digest, known(expires()?))
            }
            _ => Err(ApiKeyError::NoKey),
        }
    }

    fn insert_plain(&mut self, plain: &[u8], key: ApiKey) -> Result<(), ApiKeyError> {
        let digest = hash(plain);
        self.insert(digest, key)?;
        self.digests.extend(key_tag(plain).map(|tag| (tag, digest)));
        Ok(())
    }

    fn insert(&mut self, digest: KeyDigest, key: ApiKey) -> Result<(), ApiKeyError> {
        match self.keys.get(&digest).filter(|known| known.client != key.client) {
            Some(known) => Err(ApiKeyError::Duplicate(known.client.clone())),
            None => {
                self.keys.insert(digest, key);
                Ok(())
            }
        }
    }

    /// The key of a client. Comparing tags and digests tells an attacker nothing of the keys.
    pub fn find(&self, key: &[u8]) -> Option<&ApiKey> {
        let tagged = key_tag(key).and_then(|tag| self.digests.get(&tag));
        match tagged {
            Some(digest) => self.keys.get(digest),
            None => self.keys.get(&hash(key)),
        }
    }

    /// All keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &ApiKey> {
        self.keys.values()
    }
}

/// The message names fields and places; serde_json's messages can quote values, which may be keys.
fn from_json<'v, T: Deserialize<'v>>(value: &'v [u8]) -> Result<T, ApiKeyError> {
    serde_json::from_slice(value).map_err(|error| {
        let kind = match error.classify() {
            serde_json::error::Category::Data => "its fields are key or keyHash, expires, metadata",
            _ => "it is malformed",
        };
        ApiKeyError::Json(format!("{kind} (line {}, column {})", error.line(), error.column()))
    })
}

fn hash(key: &[u8]) -> KeyDigest {
    let digest = digest::digest(&digest::SHA256, key);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

fn parse_hash(text: &str) -> Option<KeyDigest> {
    let digits = text.strip_prefix(SHA256_PREFIX)?.as_bytes();
    let nibble = |digit: u8| char::from(digit).to_digit(16).map(|nibble| nibble as u8);
    let mut bytes = [0; 32];
    if digits.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// SHA-256 of `hashed`.
    const HASHED: &str = "sha256:29c27fb2ab2b80a4d5a32e1a8f2ae8ab24cca48c4b8a0fd6c1a1ed53cd4cb3f4";

    fn auth(keys: ApiKeys) -> ApiKeyAuth {
        let header = |name| CredentialSource::Header { name, prefix: "Bearer ".into(), is_prefix_required: false };
        ApiKeyAuth {
            sources: vec![header(http::header::AUTHORIZATION), header(HeaderName::from_static("x-api-key"))],
            client_id_header: None,
            is_removed: false,
            keys: Arc::new(keys),
        }
    }

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn every_client_of_a_secret_is_known_by_its_key_in_any_source() {
        let mut keys = ApiKeys::default();
        keys.add("a", b"one").unwrap();
        keys.add("b", b"two").unwrap();
        let auth = auth(keys);
        let client =
            |headers: HeaderMap| auth.authenticate(&headers, None, || Timestamp::UNIX_EPOCH).map(|key| key.client.to_string());
        assert_eq!(client(with("authorization", "Bearer one")).unwrap(), "a");
        assert_eq!(client(with("x-api-key", "two")).unwrap(), "b");
        for wrong in [with("x-api-key", "three"), with("authorization", "bearer one"), HeaderMap::new()] {
            let denial = client(wrong).unwrap_err();
            assert_eq!((denial.status.as_u16(), &*denial.message, denial.challenge), (401, UNAUTHENTICATED, None));
        }
    }

    #[test]
    fn an_object_has_a_hash_an_end_and_facts() {
        let digest = digest::digest(&digest::SHA256, b"hashed");
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let value = format!(
            r#"[{{"keyHash":"sha256:{hex}","expires":"2027-01-31T00:00:00Z","metadata":{{"team":"red"}}}},{{"key":"new"}}]"#
        );
        let mut keys = ApiKeys::default();
        keys.add("a", value.as_bytes()).unwrap();
        let auth = auth(keys);
        let at = |time: &str, key| auth.authenticate(&with("x-api-key", key), None, || time.parse().unwrap());
        assert_eq!(at("2027-01-30T23:59:59Z", "hashed").unwrap().metadata["team"], "red");
        let facts = at("2027-01-30T23:59:59Z", "hashed").unwrap().facts.clone();
        let facts: Vec<_> = facts.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(facts, [("team", &Value::from("red")), ("client_id", &Value::from("a"))]);
        assert!(at("2027-01-31T00:00:00Z", "hashed").is_err());
        assert_eq!(&*at("2030-01-01T00:00:00Z", "new").unwrap().client, "a");
    }

    #[test]
    fn the_last_word_of_a_client_on_its_key_holds_whether_plain_or_hashed() {
        let digest = digest::digest(&digest::SHA256, b"one");
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let (plain, hashed) = (r#"{"key":"one","metadata":{"from":"plain"}}"#, format!(r#"{{"keyHash":"sha256:{hex}"}}"#));
        for (first, last, expected) in [(plain, &*hashed, Value::Null), (&*hashed, plain, Value::from("plain"))] {
            let mut keys = ApiKeys::default();
            keys.add("a", first.as_bytes()).unwrap();
            keys.add("a", last.as_bytes()).unwrap();
            assert_eq!(keys.find(b"one").unwrap().metadata["from"], expected, "{last}");
            assert_eq!((keys.iter().count(), keys.find(b"two")), (1, None));
        }
    }

    #[test]
    fn a_malformed_value_is_named_without_its_key() {
        let mut keys = ApiKeys::default();
        keys.add("a", b"secret").unwrap();
        let cases = [
            ("", "the key is empty"),
            (r#"{"key":""}"#, "the key is empty"),
            ("secret", "duplicated API key: client a has the same"),
            (r#"{"key":"secret"}"#, "duplicated API key: client a has the same"),
            (r#"{"keyHash":"md5:00"}"#, "keyHash: write sha256: and 64 hexadecimal digits"),
            (r#"{"key":"secret","keyHash":"x"}"#, "set one of key and keyHash"),
            ("{}", "set one of key and keyHash"),
            (r#"{"key":"k","expires":"secret"}"#, "expires: write a time of RFC 3339, such as 2027-01-31T00:00:00Z"),
            (r#"{"secret":1}"#, "the JSON value is no key: its fields are key or keyHash, expires, metadata (line 1, column 9)"),
            (r#"{"key":"secret"#, "the JSON value is no key: it is malformed (line 1, column 14)"),
        ];
        for (value, message) in cases {
            let error = keys.add("b", value.as_bytes()).unwrap_err().to_string();
            assert_eq!(error, message, "{value}");
            assert!(!error.contains("secret"));
        }
        assert_eq!(format!("{keys:?}"), "ApiKeys(1)");
        assert!(parse_hash(HASHED).is_some() && parse_hash(&HASHED[..70]).is_none());
    }
}
