//! The rate limit service that decides on global limits, by annotations of the ConfigMap that holds the EnvoyGateway: Envoy Gateway runs one of
//! its own, and has no field for another.

use std::sync::Arc;

use pailou_api::{ConfigMap, envoy::envoy_gateway::GlobalRateLimit};
use pailou_snapshot::{LimitService, LimitServiceAddress, Roots, TlsVersion, UpstreamTls};

use crate::{
    index::Index,
    limit_settings::{named_secret, patience},
    pem::{self, PemError},
};

/// The service's URL.
pub(crate) const URL_ANNOTATION: &str = "pailou.dev/rate-limit-service";
/// Name of a Secret beside the ConfigMap: `ca.crt` for the authorities of the service's certificate, `tls.crt` and `tls.key` for the
/// gateway's own.
const CERTIFICATE_ANNOTATION: &str = "pailou.dev/rate-limit-service-certificate";

/// Names of the Secrets beside the ConfigMap that the service is configured by.
pub(crate) fn secrets(map: &ConfigMap) -> Vec<&str> {
    map.meta.annotation(CERTIFICATE_ANNOTATION).into_iter().collect()
}

/// Reads the service. Time and failure are those of the EnvoyGateway's `rateLimit`.
///
/// # Errors
/// An annotation is wrong, or the Secret is missing.
pub(crate) fn read(index: &Index<'_>, map: &ConfigMap, limit: Option<&GlobalRateLimit>, url: &str) -> Result<LimitService, String> {
    let field = |name: &str| format!("metadata.annotations[{name}]");
    let address = LimitServiceAddress::parse(url).map_err(|error| format!("{}: {error}", field(URL_ANNOTATION)))?;
    let certificates = match map.meta.annotation(CERTIFICATE_ANNOTATION) {
        None => ServiceCertificates::default(),
        Some(name) => {
            let data = &named_secret(index, map, &field(CERTIFICATE_ANNOTATION), name)?.spec.data;
            let key = |key: &str| data.get(key).map(|value| value.expose());
            ServiceCertificates { authorities: key("ca.crt"), chain: key("tls.crt"), key: key("tls.key") }
        }
    };
    let service = certificates.service(address).map_err(|error| format!("{}: {error}", field(CERTIFICATE_ANNOTATION)))?;
    let (timeout, is_fail_closed) = patience(limit);
    Ok(LimitService { timeout, is_fail_closed, ..service })
}

/// Certificates for TLS to a service that an operator names by its URL, in PEM.
#[derive(Clone, Copy, Default)]
pub struct ServiceCertificates<'p> {
    /// Authorities of the service's certificate; the system's if there are none.
    pub authorities: Option<&'p [u8]>,
    /// Certificate chain of the gateway.
    pub chain: Option<&'p [u8]>,
    /// Its key.
    pub key: Option<&'p [u8]>,
}

/// Why certificates are of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitServiceTlsError {
    /// They are for a service in clear text.
    #[error("the service's URL is one of clear text, for which no certificate is of use: write grpcs")]
    ClearText,
    /// The PEM cannot be read.
    #[error("{0}")]
    Pem(String),
}

impl From<PemError> for LimitServiceTlsError {
    fn from(error: PemError) -> Self {
        Self::Pem(error.to_string())
    }
}

impl ServiceCertificates<'_> {
    /// The service at an address, with the usual patience.
    ///
    /// # Errors
    /// The certificates cannot be read, or have no use.
    pub fn service(&self, address: LimitServiceAddress) -> Result<LimitService, LimitServiceTlsError> {
        let tls = match address.is_tls {
            true => Some(self.tls(&address.host)?),
            false if self.authorities.or(self.chain).or(self.key).is_some() => return Err(LimitServiceTlsError::ClearText),
            false => None,
        };
        let (timeout, is_fail_closed) = patience(None);
        Ok(LimitService { address, tls, timeout, is_fail_closed })
    }

    /// TLS to a host.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub fn tls(&self, host: &Arc<str>) -> Result<UpstreamTls, LimitServiceTlsError> {
        let roots = self.authorities.map(|text| pem::authorities(text).map(|it| Roots::Certificates(it.into()))).transpose()?;
        let client_certificate = match (self.chain, self.key) {
            (Some(chain), Some(key)) => Some(pem::key_pair(chain, key)?),
            (None, None) => None,
            (Some(_), None) => return Err(PemError::Missing("tls.key").into()),
            (None, Some(_)) => return Err(PemError::Missing("tls.crt").into()),
        };
        Ok(UpstreamTls {
            sni: Arc::clone(host),
            is_by_host: false,
            names: Vec::new(),
            roots: roots.unwrap_or(Roots::System),
            insecure_skip_verify: false,
            client_certificate,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
        })
    }
}
