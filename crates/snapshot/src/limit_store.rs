//! The store that the proxies of one or more Gateways count their limits in.

use std::{fmt, sync::Arc, time::Duration};

use percent_encoding::percent_decode_str;

/// Port of Redis and Valkey.
const DEFAULT_PORT: u16 = 6379;
/// Beginning of all keys, where nothing else is set.
const DEFAULT_PREFIX: &str = "pailou:";
/// Longest beginning, in bytes.
const MAX_PREFIX: usize = 64;

/// A Redis or Valkey, and what to do where it does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitStore {
    /// Its address.
    pub address: StoreAddress,
    /// ACL user; the default user if there is none.
    pub username: Option<Arc<str>>,
    /// The user's password.
    pub password: Option<StoreSecret>,
    /// Number of the database.
    pub database: u32,
    /// Beginning of all keys: gateways with the same one share their limits.
    pub prefix: Arc<str>,
    /// TLS to every node; plain TCP without.
    pub tls: Option<StoreTls>,
    /// Time that a request waits for it.
    pub timeout: Duration,
    /// Whether a limit that cannot be counted refuses its requests (500), or each proxy admits its part.
    pub is_fail_closed: bool,
}

/// Nodes of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// One server.
    Single(StoreNode),
    /// The primary that sentinels name.
    Sentinel {
        /// Name of the primary.
        primary: Arc<str>,
        /// The sentinels.
        sentinels: Vec<StoreNode>,
    },
    /// A cluster, by some of its nodes.
    Cluster(Vec<StoreNode>),
}

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreNode {
    /// Name or IP address.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
}

/// TLS to a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreTls {
    /// Authorities, in PEM; the system's if there are none.
    pub authorities: Option<Arc<str>>,
    /// Certificate chain and key of this client, in PEM.
    pub client: Option<(Arc<str>, StoreSecret)>,
}

/// A password or key. No debug output shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreSecret(Arc<str>);

/// Why a URL is of no store. It does not show the URL, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreUrlError {
    /// The scheme is another.
    Scheme(String),
    /// A node is no `host:port`.
    Node,
    /// The path is no number of a database.
    Database,
    /// User or password are not UTF-8.
    Credentials,
    /// The beginning of keys is too long, or has other characters.
    Prefix,
}

impl fmt::Display for StoreUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(scheme) => write!(f, "scheme {scheme:?}: use redis, rediss (TLS), valkey or valkeys (TLS)"),
            Self::Node => f.write_str(
                "expected host:port, several nodes of a cluster joined with commas, or a primary's name and its sentinels joined with commas",
            ),
            Self::Database => f.write_str("the path is no number of a database"),
            Self::Credentials => f.write_str("user and password are not UTF-8"),
            Self::Prefix => {
                write!(f, "a prefix of keys has 1 to {MAX_PREFIX} ASCII letters, digits and characters of `:._-/`")
            }
        }
    }
}

impl std::error::Error for StoreUrlError {}

impl StoreSecret {
    /// Takes a secret.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The secret. The caller answers for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for StoreSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for StoreNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, mut separator) = match self {
            Self::Single(node) => return node.fmt(f),
            Self::Sentinel { primary, sentinels } => {
                f.write_str(primary)?;
                (sentinels, ",")
            }
            Self::Cluster(nodes) => (nodes, ""),
        };
        for node in nodes {
            write!(f, "{separator}{node}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl LimitStore {
    /// Time that a request waits for a store, where nothing else is set. Envoy Gateway's.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(20);

    /// A store by its URL: `[redis://][user:password@]host:port[/database]`, as Envoy Gateway's `rateLimit.backend.redis.url`. Several nodes,
    /// joined with commas, are a cluster; if the first has no port, it is the name of a primary, and the others are its sentinels.
    ///
    /// # Errors
    /// The URL has another form.
    pub fn parse(url: &str) -> Result<Self, StoreUrlError> {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("redis", url.trim()));
        let tls = match scheme {
            "redis" | "valkey" | "tcp" => None,
            "rediss" | "valkeys" => Some(StoreTls::default()),
            other => return Err(StoreUrlError::Scheme(other.escape_default().take(16).collect())),
        };
        let (credentials, rest) = rest.rsplit_once('@').map_or((None, rest), |(credentials, rest)| (Some(credentials), rest));
        let (nodes, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = if database.is_empty() { 0 } else { database.parse().map_err(|_| StoreUrlError::Database)? };
        let (username, password) = match credentials.map(|it| it.split_once(':').unwrap_or((it, ""))) {
            Some((user, password)) => (Some(decode(user)?).filter(|it| !it.is_empty()), Some(decode(password)?)),
            None => (None, None),
        };
        Ok(Self {
            address: StoreAddress::parse(nodes)?,
            username: username.map(Into::into),
            password: password.filter(|it| !it.is_empty()).map(|it| StoreSecret::new(&it)),
            database,
            prefix: DEFAULT_PREFIX.into(),
            tls,
            timeout: Self::DEFAULT_TIMEOUT,
            is_fail_closed: false,
        })
    }

    /// Begins all keys with this text. Characters by which a cluster would put all of them on one node are none of it.
    ///
    /// # Errors
    /// It is too long, or has other characters.
    pub fn set_prefix(&mut self, prefix: &str) -> Result<(), StoreUrlError> {
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b":._-/".contains(&byte);
        if prefix.is_empty() || prefix.len() > MAX_PREFIX || !prefix.bytes().all(is_known) {
            return Err(StoreUrlError::Prefix);
        }
        self.prefix = prefix.into();
        Ok(())
    }
}

fn decode(text: &str) -> Result<String, StoreUrlError> {
    percent_decode_str(text).decode_utf8().map(Into::into).map_err(|_| StoreUrlError::Credentials)
}

impl StoreAddress {
    fn parse(text: &str) -> Result<Self, StoreUrlError> {
        let mut parts = text.split(',').map(str::trim);
        let first = parts.next().filter(|it| !it.is_empty()).ok_or(StoreUrlError::Node)?;
        let others = parts.map(StoreNode::parse).collect::<Result<Vec<_>, _>>()?;
        if others.is_empty() {
            return Ok(Self::Single(StoreNode::parse(first)?));
        }
        if !first.contains(':') {
            return Ok(Self::Sentinel { primary: first.into(), sentinels: others });
        }
        let mut nodes = vec![StoreNode::parse(first)?];
        nodes.extend(others);
        Ok(Self::Cluster(nodes))
    }
}

impl StoreNode {
    fn parse(text: &str) -> Result<Self, StoreUrlError> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| StoreUrlError::Node)?),
            _ => (text, DEFAULT_PORT),
        };
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        match host.is_empty() || port == 0 {
            true => Err(StoreUrlError::Node),
            false => Ok(Self { host: host.into(), port }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_server_a_cluster_or_sentinels() {
        for (url, expected) in [
            ("redis.redis-system.svc:6379", "redis.redis-system.svc:6379"),
            ("redis://h", "h:6379"),
            ("[::1]:7000", "[::1]:7000"),
            ("a:1,b:2", "a:1,b:2"),
            ("mymaster,a:1,b:2", "mymaster,a:1,b:2"),
        ] {
            assert_eq!(LimitStore::parse(url).unwrap().address.to_string(), expected);
        }
        assert!(matches!(LimitStore::parse("a:1,b:2").unwrap().address, StoreAddress::Cluster(_)));
        assert!(matches!(LimitStore::parse("mymaster,b:2").unwrap().address, StoreAddress::Sentinel { .. }));
        for wrong in ["", "http://h:1", "h:port", "h:0", "h:1/x", "redis://"] {
            assert!(LimitStore::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_has_no_character_that_keys_give_a_meaning() {
        let mut store = LimitStore::parse("h:1").unwrap();
        assert_eq!(&*store.prefix, "pailou:");
        store.set_prefix("pailou:east/1.a_b-").unwrap();
        assert_eq!(&*store.prefix, "pailou:east/1.a_b-");
        for wrong in ["", "{a}", "a b", "ä", "a*", &"a".repeat(65)] {
            assert_eq!(store.set_prefix(wrong), Err(StoreUrlError::Prefix), "{wrong}");
        }
        assert_eq!(&*store.prefix, "pailou:east/1.a_b-");
    }

    #[test]
    fn credentials_are_decoded_and_never_shown() {
        let store = LimitStore::parse("rediss://gateway:p%40ss:word@h:1/2").unwrap();
        assert_eq!((store.username.as_deref(), store.database, store.tls.is_some()), (Some("gateway"), 2, true));
        assert_eq!(store.password.as_ref().unwrap().expose(), "p@ss:word");
        let shown = format!("{store:?} {}", LimitStore::parse("x://u:hidden@h").unwrap_err());
        assert!(!shown.contains("p@ss") && !shown.contains("hidden"), "{shown}");
        let named = LimitStore::parse("redis://only@h:1").unwrap();
        assert_eq!((named.username.as_deref(), named.password), (Some("only"), None));
        assert_eq!(LimitStore::parse(":only@h:1").unwrap().password.unwrap().expose(), "only");
    }
}
