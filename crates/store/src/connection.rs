//! Connections to a store: a server, the primary that sentinels name, or a cluster.

use pailou_snapshot::{LimitStore, StoreAddress, StoreNode, StoreTls};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisResult, ServerErrorKind, TlsCertificates, TlsMode, Value,
    aio::MultiplexedConnection,
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

/// A connection. Its clones share it.
#[derive(Clone)]
pub(crate) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// A script, by its digest where the server knows it.
pub(crate) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    /// A script of this text.
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }

    fn command(&self, is_known: bool, key: &str, arguments: &[String]) -> Cmd {
        let (name, script) = if is_known { ("EVALSHA", &*self.digest) } else { ("EVAL", self.text) };
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(key).arg(arguments);
        command
    }
}

impl Connection {
    /// Connects to a store, for as long as the caller waits.
    pub(crate) async fn open(store: &LimitStore) -> RedisResult<Self> {
        match &store.address {
            StoreAddress::Single(node) => {
                let info = address(node, store.tls.as_ref()).into_connection_info()?.set_redis_settings(settings(store));
                let client = match certificates(store) {
                    Some(certificates) => Client::build_with_tls(info, certificates)?,
                    None => Client::open(info)?,
                };
                Ok(Self::Server(client.get_multiplexed_async_connection_with_config(&untimed()).await?))
            }
            StoreAddress::Sentinel { primary, sentinels } => {
                let nodes = sentinels.iter().map(|node| address(node, store.tls.as_ref()));
                let mut builder = SentinelClientBuilder::new(nodes, primary, SentinelServerType::Master)?
                    .set_client_to_redis_db(store.database.into());
                if let Some(username) = &store.username {
                    builder = builder.set_client_to_redis_username(username);
                }
                if let Some(password) = &store.password {
                    builder = builder.set_client_to_redis_password(password.expose());
                }
                if store.tls.is_some() {
                    builder =
                        builder.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_sentinel_tls_mode(TlsMode::Secure);
                }
                if let Some(certificates) = certificates(store) {
                    builder = builder
                        .set_client_to_redis_certificates(certificates.clone())
                        .set_client_to_sentinel_certificates(certificates);
                }
                Ok(Self::Server(builder.build()?.get_async_connection_with_config(&untimed()).await?))
            }
            StoreAddress::Cluster(nodes) => {
                let nodes: Vec<_> = nodes.iter().map(|node| address(node, store.tls.as_ref())).collect();
                let mut builder = ClusterClientBuilder::new(nodes).retries(1);
                if let Some(username) = &store.username {
                    builder = builder.username(username);
                }
                if let Some(password) = &store.password {
                    builder = builder.password(password.expose());
                }
                if store.tls.is_some() {
                    builder = builder.tls(TlsMode::Secure);
                }
                if let Some(certificates) = certificates(store) {
                    builder = builder.certs(certificates);
                }
                Ok(Self::Cluster(builder.build()?.get_async_connection().await?))
            }
        }
    }

    /// Whether keys are on several nodes, of which some may be away.
    pub(crate) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Runs a script on one key.
    pub(crate) async fn run(&mut self, script: &Script, key: &str, arguments: &[String]) -> RedisResult<Value> {
        match self.send(&script.command(true, key, arguments)).await {
            // The server has restarted, or another took its place.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.send(&script.command(false, key, arguments)).await
            }
            answer => answer,
        }
    }

    /// Sends one command.
    pub(crate) async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Server(connection) => command.query_async(connection).await,
            Self::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// The client's task has clocks of its own.
fn untimed() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}

fn settings(store: &LimitStore) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default().set_db(store.database.into()).set_skip_set_lib_name();
    if let Some(username) = &store.username {
        settings = settings.set_username(username);
    }
    if let Some(password) = &store.password {
        settings = settings.set_password(password.expose());
    }
    settings
}

fn address(node: &StoreNode, tls: Option<&StoreTls>) -> ConnectionAddr {
    let (host, port) = (node.host.to_string(), node.port);
    match tls {
        None => ConnectionAddr::Tcp(host, port),
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
    }
}

fn certificates(store: &LimitStore) -> Option<TlsCertificates> {
    let tls = store.tls.as_ref()?;
    let client_tls = tls.client.as_ref().map(|(chain, key)| ClientTlsConfig {
        client_cert: chain.as_bytes().to_vec(),
        client_key: key.expose().as_bytes().to_vec(),
    });
    Some(TlsCertificates { client_tls, root_cert: tls.authorities.as_ref().map(|it| it.as_bytes().to_vec()) })
}
