//! The store of limits that flags name.

use std::{path::Path, time::Duration};

use pailou_snapshot::{LimitStore, StoreSecret, StoreTls};

use crate::{cli::LimitStoreArgs, exit::Error};

/// Variable with the password of the store's user. No flag: other users of the machine see those.
const PASSWORD: &str = "PAILOU_RATE_LIMIT_REDIS_PASSWORD";

/// Reads the flags, and the files that they name.
///
/// # Errors
/// The URL is none, a file cannot be read, or there is no URL and other flags are set. None shows a password.
pub(crate) fn read(args: &LimitStoreArgs) -> Result<Option<LimitStore>, Error> {
    let url = match (&args.rate_limit_redis_url, &args.rate_limit_redis_url_file) {
        (Some(url), _) => url.clone(),
        (None, Some(path)) => text(path)?,
        (None, None) => return without_url(args),
    };
    let mut store = LimitStore::parse(&url).map_err(Error::LimitStore)?;
    if let Some(prefix) = &args.rate_limit_redis_prefix {
        store.set_prefix(prefix).map_err(Error::LimitStore)?;
    }
    if let Some(timeout) = args.rate_limit_timeout {
        store.timeout = Duration::from_millis(timeout.into());
    }
    store.is_fail_closed = args.rate_limit_fail_closed;
    if let Some(path) = &args.rate_limit_redis_password_file {
        store.password = Some(StoreSecret::new(text(path)?.trim_end_matches(['\r', '\n'])));
    } else if let Ok(password) = std::env::var(PASSWORD) {
        store.password = Some(StoreSecret::new(&password));
    }
    if let Some(path) = &args.rate_limit_redis_ca {
        store.tls.get_or_insert_default().authorities = Some(text(path)?.into());
    }
    if let (Some(chain), Some(key)) = (&args.rate_limit_redis_cert, &args.rate_limit_redis_key) {
        store.tls.get_or_insert_with(StoreTls::default).client = Some((text(chain)?.into(), StoreSecret::new(&text(key)?)));
    }
    Ok(Some(store))
}

/// No store; what is set beside its URL would have no effect.
fn without_url(args: &LimitStoreArgs) -> Result<Option<LimitStore>, Error> {
    let has_service = args.rate_limit_service.is_some();
    let flags = [
        ("--rate-limit-redis-prefix", args.rate_limit_redis_prefix.is_some()),
        ("--rate-limit-redis-password-file", args.rate_limit_redis_password_file.is_some()),
        ("--rate-limit-redis-ca", args.rate_limit_redis_ca.is_some()),
        ("--rate-limit-redis-cert", args.rate_limit_redis_cert.is_some()),
        ("--rate-limit-timeout", args.rate_limit_timeout.is_some() && !has_service),
        ("--rate-limit-fail-closed", args.rate_limit_fail_closed && !has_service),
    ];
    match flags.into_iter().find(|(_, is_set)| *is_set) {
        Some((flag, _)) => Err(Error::LimitStoreFlag(flag)),
        None => Ok(None),
    }
}

pub(crate) fn text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
