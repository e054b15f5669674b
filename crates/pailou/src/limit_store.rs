//! The store of limits that flags name.

use std::{path::Path, time::Duration};

use pailou_snapshot::{LimitStore, StoreSecret, StoreTls};

use crate::{cli::LimitStoreArgs, exit::Error};

/// Variable with the password of the store's user. No flag: other users of the machine see those.
const PASSWORD: &str = "PAILOU_RATE_LIMIT_REDIS_PASSWORD";

/// Reads the flags, and the files that they name.
///
/// # Errors
/// The URL is none, or a file cannot be read. Neither shows a password.
pub(crate) fn read(args: &LimitStoreArgs) -> Result<Option<LimitStore>, Error> {
    let Some(url) = &args.rate_limit_redis_url else { return Ok(None) };
    let mut store = LimitStore::parse(url).map_err(Error::LimitStore)?;
    store.timeout = Duration::from_millis(args.rate_limit_timeout.into());
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

fn text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
