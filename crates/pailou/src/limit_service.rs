//! The rate limit service that flags name.

use std::time::Duration;

use pailou_compile::ServiceCertificates;
use pailou_snapshot::{LimitService, LimitServiceAddress};

use crate::{cli::LimitStoreArgs, exit::Error, limit_store::text};

/// Reads the flags, and the files that they name.
///
/// # Errors
/// The URL is none, a file cannot be read or has no use, or there is no URL and other flags are set.
pub(crate) fn read(args: &LimitStoreArgs) -> Result<Option<LimitService>, Error> {
    let Some(url) = &args.rate_limit_service else { return without_url(args) };
    let address = LimitServiceAddress::parse(url).map_err(Error::LimitService)?;
    let read = |path: &Option<std::path::PathBuf>| path.as_deref().map(text).transpose();
    let (authorities, chain) = (read(&args.rate_limit_service_ca)?, read(&args.rate_limit_service_cert)?);
    let key = read(&args.rate_limit_service_key)?;
    let certificates = ServiceCertificates {
        authorities: authorities.as_ref().map(String::as_bytes),
        chain: chain.as_ref().map(String::as_bytes),
        key: key.as_ref().map(String::as_bytes),
    };
    let mut service = certificates.service(address).map_err(Error::LimitServiceTls)?;
    if let Some(timeout) = args.rate_limit_timeout {
        service.timeout = Duration::from_millis(timeout.into());
    }
    service.is_fail_closed = args.rate_limit_fail_closed;
    Ok(Some(service))
}

/// No service; certificates would have no effect.
fn without_url(args: &LimitStoreArgs) -> Result<Option<LimitService>, Error> {
    let flags = [
        ("--rate-limit-service-ca", args.rate_limit_service_ca.is_some()),
        ("--rate-limit-service-cert", args.rate_limit_service_cert.is_some()),
    ];
    match flags.into_iter().find(|(_, is_set)| *is_set) {
        Some((flag, _)) => Err(Error::LimitServiceFlag(flag)),
        None => Ok(None),
    }
}
