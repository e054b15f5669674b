//! The authority that signs the feed's certificates. A Secret of the controller's namespace holds it, the same for every
//! replica; the provisioner hands its certificate to proxies.
//!
//! A replica renews it a year before its end and hands out both certificates until the old one has ended. Each replica makes
//! its own server certificates, in memory.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{sync::watch, time};

use super::admin_token::AdminSigner;
use crate::backoff::Backoff;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long an authority holds.
const LIFE: Duration = DAY.saturating_mul(10 * 365);
/// How long before its end it is renewed.
const RENEWAL: Duration = DAY.saturating_mul(365);
/// How long a certificate holds. Each replica makes a new one every hour.
const CERTIFICATE_LIFE: Duration = DAY.saturating_mul(7);
/// Interval between two reads of the Secret.
const CHECK_INTERVAL: Duration = Duration::from_secs(3600);
/// Clocks may differ by this much.
const SKEW: Duration = Duration::from_secs(3600);

/// The Secret's keys.
const CERTIFICATES: &str = "ca.crt";
const KEY: &str = "ca.key";
const MADE_AT: &str = "made-at";

/// Why there is no authority yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read or write the Secret: {0}")]
    Cluster(#[from] kube::Error),
    #[error("the Secret's {0} is missing or not this controller's: delete the Secret, and the controller creates it anew")]
    Content(&'static str),
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("cannot use the certificate: {0}")]
    Tls(#[from] rustls::Error),
}

/// An authority.
pub(crate) struct Authority {
    /// Its certificate, and those of the ones before it that still hold, in PEM.
    pub(super) certificates: String,
    pub(super) key: KeyPair,
    made_at: SystemTime,
}

impl Authority {
    /// A new authority; `before` are the certificates of those that it takes over from.
    pub(super) fn new(now: SystemTime, before: &str) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let issuer = CertifiedIssuer::self_signed(parameters(now)?, key)?;
        let certificates = format!("{}{before}", issuer.pem());
        Ok(Self { certificates, key: KeyPair::from_pem(&issuer.key().serialize_pem())?, made_at: now })
    }

    fn read(secret: &Secret) -> Result<Self, Error> {
        let data = secret.data.as_ref();
        let text = |key: &'static str| {
            let value = data.and_then(|data| data.get(key)).and_then(|value| std::str::from_utf8(&value.0).ok());
            value.ok_or(Error::Content(key))
        };
        let seconds: u64 = text(MADE_AT)?.parse().map_err(|_| Error::Content(MADE_AT))?;
        let key = KeyPair::from_pem(text(KEY)?).map_err(|_| Error::Content(KEY))?;
        Ok(Self { certificates: text(CERTIFICATES)?.to_owned(), key, made_at: UNIX_EPOCH + Duration::from_secs(seconds) })
    }

    fn data(&self) -> BTreeMap<String, ByteString> {
        let seconds = self.made_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        BTreeMap::from([
            (CERTIFICATES.to_owned(), ByteString(self.certificates.clone().into_bytes())),
            (KEY.to_owned(), ByteString(self.key.serialize_pem().into_bytes())),
            (MADE_AT.to_owned(), ByteString(seconds.to_string().into_bytes())),
        ])
    }

    /// The next authority, if it is time for it. The one before this one has ended by then.
    fn renewed(&self, now: SystemTime) -> Result<Option<Self>, Error> {
        if now < self.made_at + LIFE - RENEWAL {
            return Ok(None);
        }
        let end = "-----END CERTIFICATE-----\n";
        let own = self.certificates.split_inclusive(end).next().unwrap_or_default();
        Self::new(now, own).map(Some)
    }

    /// A server's configuration with a fresh certificate for these names.
    fn server(&self, names: &[String], now: SystemTime) -> Result<ServerConfig, Error> {
        let mut certificate = CertificateParams::new(names)?;
        certificate.distinguished_name.push(DnType::CommonName, "pailou feed");
        certificate.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (certificate.not_before, certificate.not_after) = ((now - SKEW).into(), (now + CERTIFICATE_LIFE).into());
        let key = KeyPair::generate()?;
        let signed = certificate.signed_by(&key, &Issuer::new(parameters(self.made_at)?, &self.key))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(server.with_no_client_auth().with_single_cert(vec![signed.der().clone()], private)?)
    }
}

fn parameters(made_at: SystemTime) -> Result<CertificateParams, Error> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.distinguished_name.push(DnType::CommonName, "pailou feed authority");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    (parameters.not_before, parameters.not_after) = ((made_at - SKEW).into(), (made_at + LIFE).into());
    Ok(parameters)
}

/// Secret of the authority, and names in the certificates it signs.
#[derive(Clone, Debug)]
pub(crate) struct CertificateOptions {
    pub(crate) namespace: String,
    pub(crate) secret: String,
    /// The host names of the feed.
    pub(crate) names: Vec<String>,
}

/// Keeps the feed's certificate fresh for ever, and says which authorities proxies are to trust.
pub(crate) async fn keep(
    client: Client,
    options: CertificateOptions,
    authorities: watch::Sender<Option<Arc<str>>>,
    server: watch::Sender<Option<Arc<ServerConfig>>>,
    signer: watch::Sender<Option<Arc<AdminSigner>>>,
) {
    let secrets: Api<Secret> = Api::namespaced(client, &options.namespace);
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
    loop {
        let now = SystemTime::now();
        let made = match authority(&secrets, &options.secret, now).await {
            Ok(authority) => authority.server(&options.names, now).map(|config| (authority, config)),
            Err(error) => Err(error),
        };
        match made {
            Ok((authority, config)) => {
                authorities.send_if_modified(|known| {
                    let changed = known.as_deref() != Some(&authority.certificates);
                    *known = Some(authority.certificates.into());
                    changed
                });
                server.send_replace(Some(Arc::new(config)));
                signer.send_replace(Some(Arc::new(AdminSigner(authority.key))));
                backoff.reset();
                time::sleep(CHECK_INTERVAL).await;
            }
            Err(error) => {
                tracing::warn!("no certificate for the feed from Secret {}/{}: {error}", options.namespace, options.secret);
                time::sleep(backoff.failed()).await;
            }
        }
    }
}

/// The authority that every replica uses: the Secret's, made or renewed by whoever comes first.
async fn authority(secrets: &Api<Secret>, name: &str, now: SystemTime) -> Result<Authority, Error> {
    loop {
        let Some(secret) = secrets.get_opt(name).await? else {
            let authority = Authority::new(now, "")?;
            let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
            let secret = Secret { metadata, data: Some(authority.data()), ..Secret::default() };
            match secrets.create(&PostParams::default(), &secret).await {
                Ok(_) => return Ok(authority),
                Err(error) if is_conflict(&error) => continue,
                Err(error) => return Err(error.into()),
            }
        };
        let authority = Authority::read(&secret)?;
        let Some(next) = authority.renewed(now)? else { return Ok(authority) };
        // The write names the resourceVersion that was read: of two replicas that renew, the API server refuses one, which then
        // reads again.
        match secrets.replace(name, &PostParams::default(), &Secret { data: Some(next.data()), ..secret }).await {
            Ok(_) => return Ok(next),
            Err(error) if is_conflict(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_survives_its_secret_and_signs() {
        let now = SystemTime::now();
        let made = Authority::new(now, "").unwrap();
        let secret = Secret { data: Some(made.data()), ..Secret::default() };
        let read = Authority::read(&secret).unwrap();
        assert_eq!(read.certificates, made.certificates);
        assert!(read.renewed(now).unwrap().is_none());
        read.server(&["controller.system.svc".to_owned()], now).unwrap();
    }

    #[test]
    fn the_old_authority_is_handed_out_beside_the_new_one_and_then_no_more() {
        let count = |authority: &Authority| authority.certificates.matches("BEGIN CERTIFICATE").count();
        let first = Authority::new(SystemTime::now(), "").unwrap();
        let later = first.made_at + LIFE - RENEWAL + DAY;
        let second = first.renewed(later).unwrap().unwrap();
        assert!(second.certificates.ends_with(&first.certificates) && count(&second) == 2);
        let third = second.renewed(later + LIFE).unwrap().unwrap();
        assert!(!third.certificates.contains(&first.certificates) && count(&third) == 2);
    }

    #[test]
    fn a_secret_of_something_else_is_named_by_its_fault() {
        let error = Authority::read(&Secret::default()).err().unwrap().to_string();
        assert!(error.contains("made-at") && error.contains("delete the Secret"), "{error}");
    }
}
