//! Flags for the store of limits, and for a rate limit service in its place.

use std::path::PathBuf;

/// The Redis or Valkey in which several gateways count the same limits, or a rate limit service that counts them. It takes the place of the one
/// that an EnvoyGateway names.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct LimitStoreArgs {
    /// Count global limits in this Redis or Valkey, `[rediss://][user@]host:port[/database]`, with all gateways that do.
    ///
    /// Several nodes, joined with commas: a cluster. A name without a port before them: the primary that they, as sentinels, name. rediss is TLS.
    /// A password in it is seen by other users of the machine: take a file, or the environment.
    #[arg(long, value_name = "URL", env = "PAILOU_RATE_LIMIT_REDIS_URL", hide_env_values = true)]
    pub(crate) rate_limit_redis_url: Option<String>,
    /// File with that URL, read at the start.
    #[arg(long, value_name = "PATH", env = "PAILOU_RATE_LIMIT_REDIS_URL_FILE", conflicts_with = "rate_limit_redis_url")]
    pub(crate) rate_limit_redis_url_file: Option<PathBuf>,
    /// Begin all keys with this text, default `pailou:`; gateways with the same one share their limits.
    #[arg(long, value_name = "TEXT", env = "PAILOU_RATE_LIMIT_REDIS_PREFIX")]
    pub(crate) rate_limit_redis_prefix: Option<String>,
    /// File with the password of the store's user, read at the start.
    #[arg(long, value_name = "PATH", env = "PAILOU_RATE_LIMIT_REDIS_PASSWORD_FILE")]
    pub(crate) rate_limit_redis_password_file: Option<PathBuf>,
    /// PEM file with the CAs of the store's certificate; default: the system's.
    #[arg(long, value_name = "PATH", env = "PAILOU_RATE_LIMIT_REDIS_CA")]
    pub(crate) rate_limit_redis_ca: Option<PathBuf>,
    /// PEM file with the certificate by which the gateway shows itself to the store.
    #[arg(long, value_name = "PATH", env = "PAILOU_RATE_LIMIT_REDIS_CERT", requires = "rate_limit_redis_key")]
    pub(crate) rate_limit_redis_cert: Option<PathBuf>,
    /// PEM file with that certificate's key.
    #[arg(long, value_name = "PATH", env = "PAILOU_RATE_LIMIT_REDIS_KEY", requires = "rate_limit_redis_cert")]
    pub(crate) rate_limit_redis_key: Option<PathBuf>,
    /// Ask this rate limit service (`envoy.service.ratelimit.v3`) about global limits, `[grpcs://]host[:8081]`; grpc:// is clear text.
    #[arg(long, value_name = "URL", env = "PAILOU_RATE_LIMIT_SERVICE", conflicts_with_all = ["rate_limit_redis_url", "rate_limit_redis_url_file"])]
    pub(crate) rate_limit_service: Option<String>,
    /// PEM file with the CAs of the service's certificate; default: the system's.
    #[arg(long, value_name = "PATH", env = "PAILOU_RATE_LIMIT_SERVICE_CA")]
    pub(crate) rate_limit_service_ca: Option<PathBuf>,
    /// PEM file with the certificate by which the gateway shows itself to the service.
    #[arg(long, value_name = "PATH", env = "PAILOU_RATE_LIMIT_SERVICE_CERT", requires = "rate_limit_service_key")]
    pub(crate) rate_limit_service_cert: Option<PathBuf>,
    /// PEM file with that certificate's key.
    #[arg(long, value_name = "PATH", env = "PAILOU_RATE_LIMIT_SERVICE_KEY", requires = "rate_limit_service_cert")]
    pub(crate) rate_limit_service_key: Option<PathBuf>,
    /// Milliseconds that a request waits for the store or the service, default 20.
    #[arg(long, value_name = "MILLISECONDS", env = "PAILOU_RATE_LIMIT_TIMEOUT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate_limit_timeout: Option<u32>,
    /// Refuse requests with 500 while the store or the service does not answer, instead of counting this gateway's part, or nothing.
    #[arg(long, env = "PAILOU_RATE_LIMIT_FAIL_CLOSED")]
    pub(crate) rate_limit_fail_closed: bool,
}
