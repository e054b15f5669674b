//! EnvoyGateway, the configuration of the gateway itself. It is no object: it stands in a ConfigMap.

use serde::Deserialize;

use crate::{Duration, ObjectName, parse, refs::SecretObjectReference};

/// The parts of an EnvoyGateway that the gateway reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyGateway {
    /// Counting of global limits.
    #[serde(default)]
    pub rate_limit: Option<GlobalRateLimit>,
}

/// Counting of global limits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GlobalRateLimit {
    /// The store. Where a rate limit service decides, there need be none.
    #[serde(default)]
    pub backend: Option<RateLimitBackend>,
    /// Time that a request waits for it.
    #[serde(default)]
    pub timeout: Option<Duration>,
    /// Whether requests are refused while it does not answer.
    #[serde(default)]
    pub fail_closed: bool,
}

/// A store of counters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RateLimitBackend {
    /// `Redis`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Redis or Valkey.
    #[serde(default)]
    pub redis: Option<RateLimitRedis>,
}

/// Redis or Valkey.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitRedis {
    /// `host:port`, or several of a cluster.
    #[serde(default)]
    pub url: Option<String>,
    /// Secret with the URL, and so with credentials.
    #[serde(default)]
    pub url_ref: Option<RateLimitUrlRef>,
    /// TLS.
    #[serde(default)]
    pub tls: Option<RateLimitRedisTls>,
}

/// Source of a URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitUrlRef {
    /// A key of a Secret.
    #[serde(default)]
    pub secret_key_ref: Option<SecretKeySelector>,
    /// A Secret, in short: its key `url`, or its only one.
    #[serde(default)]
    pub name: Option<ObjectName>,
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SecretKeySelector {
    /// The Secret, beside the referrer.
    pub name: ObjectName,
    /// Its key.
    pub key: String,
}

/// TLS to a store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitRedisTls {
    /// Secret with the client's certificate, and with the authorities (`ca.crt`).
    #[serde(default)]
    pub certificate_ref: Option<SecretObjectReference>,
}

impl EnvoyGateway {
    /// Reads one from YAML; `None` if it is of another kind.
    ///
    /// # Errors
    /// Why it does not decode, with the field.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        parse::document_of_kind(text, "EnvoyGateway")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_are_not_read_do_no_harm_and_wrong_ones_are_named() {
        let text = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyGateway\nprovider: {type: Kubernetes}\nrateLimit:\n  \
                    backend: {type: Redis, redis: {url: \"redis:6379\"}}\n  timeout: 50ms\n";
        let limit = EnvoyGateway::parse(text).unwrap().unwrap().rate_limit.unwrap();
        assert_eq!((limit.backend.unwrap().redis.unwrap().url.as_deref(), limit.fail_closed), (Some("redis:6379"), false));
        let error = EnvoyGateway::parse(&text.replace("50ms", "50")).unwrap_err();
        assert!(error.contains("rateLimit.timeout"), "{error}");
        assert_eq!(EnvoyGateway::parse("kind: ConfigMap"), Ok(None));
        assert!(EnvoyGateway::parse("{").is_err());
    }
}
