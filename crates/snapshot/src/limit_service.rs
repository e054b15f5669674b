//! The rate limit service that an operator keeps: global limits are asked of it, and counted by nobody else.

use std::{fmt, sync::Arc, time::Duration};

use super::{Roots, UpstreamTls};

/// Port of the rate limit service of Envoy's project.
const DEFAULT_PORT: u16 = 8081;

/// A rate limit service (`envoy.service.ratelimit.v3`), and what to do where it does not answer.
#[derive(Clone, Debug)]
pub struct LimitService {
    /// Its address.
    pub address: LimitServiceAddress,
    /// TLS to it; plain TCP without.
    pub tls: Option<UpstreamTls>,
    /// Time that a request waits for an answer.
    pub timeout: Duration,
    /// Whether requests are refused (500) without an answer, or pass.
    pub is_fail_closed: bool,
}

/// Certificates are compared by what they are.
impl PartialEq for LimitService {
    fn eq(&self, other: &Self) -> bool {
        let is_tls_same = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => is_same_tls(one, other),
            _ => false,
        };
        let plain = |it: &Self| (it.address.clone(), it.timeout, it.is_fail_closed);
        is_tls_same && plain(self) == plain(other)
    }
}

impl Eq for LimitService {}

fn is_same_tls(one: &UpstreamTls, other: &UpstreamTls) -> bool {
    let are_roots_same = match (&one.roots, &other.roots) {
        (Roots::System, Roots::System) => true,
        (Roots::Certificates(one), Roots::Certificates(other)) => one == other,
        _ => false,
    };
    let chain = |tls: &UpstreamTls| tls.client_certificate.as_ref().map(|it| it.cert.clone());
    are_roots_same && one.sni == other.sni && chain(one) == chain(other)
}

/// Host and port, and whether they are asked over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitServiceAddress {
    /// Name or IP address.
    pub host: Arc<str>,
    /// TCP port.
    pub port: u16,
    /// TLS.
    pub is_tls: bool,
}

/// Why a URL is of no rate limit service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitServiceUrlError {
    /// The scheme is another.
    Scheme(String),
    /// The rest is no `host:port`.
    Authority,
}

impl fmt::Display for LimitServiceUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme(scheme) => write!(f, "scheme {scheme:?}: use grpcs (TLS, which is the default) or grpc (clear text)"),
            Self::Authority => f.write_str("expected host:port, and no path"),
        }
    }
}

impl std::error::Error for LimitServiceUrlError {}

impl LimitServiceAddress {
    /// An address by its URL: `[grpcs://]host[:8081]`, or `grpc://` for clear text.
    ///
    /// # Errors
    /// The URL has another form.
    pub fn parse(url: &str) -> Result<Self, LimitServiceUrlError> {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("grpcs", url.trim()));
        let is_tls = match scheme {
            "grpcs" => true,
            "grpc" => false,
            other => return Err(LimitServiceUrlError::Scheme(other.escape_default().take(16).collect())),
        };
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| LimitServiceUrlError::Authority)?),
            _ => (rest, DEFAULT_PORT),
        };
        let bare = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if bare.is_empty() || port == 0 || !bare.bytes().all(is_known) || (bare.contains(':') && bare.len() == host.len()) {
            return Err(LimitServiceUrlError::Authority);
        }
        Ok(Self { host: bare.to_ascii_lowercase().into(), port, is_tls })
    }
}

impl fmt::Display for LimitServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_asks_for_tls_unless_it_says_otherwise() {
        for (url, expected, is_tls) in [
            ("ratelimit.limits.svc", "ratelimit.limits.svc:8081", true),
            ("grpcs://Ratelimit:443", "ratelimit:443", true),
            ("grpc://10.0.0.1:8081", "10.0.0.1:8081", false),
            ("[::1]:7000", "[::1]:7000", true),
            ("grpc://[::1]", "[::1]:8081", false),
        ] {
            let address = LimitServiceAddress::parse(url).unwrap();
            assert_eq!((address.to_string().as_str(), address.is_tls), (expected, is_tls), "{url}");
        }
        for wrong in ["", "http://h:1", "h:port", "h:0", "h:1/x", "grpc://", "user:secret@h:1", "::1", "h/x", "[]:1"] {
            let error = LimitServiceAddress::parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
