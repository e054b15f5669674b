//! Credentials that clients never see (`HTTPRouteFilter` `credentialInjection`).

use http::HeaderMap;
use pailou_snapshot::{Credential, Failure};

/// Puts credentials in. Called last of all edits, for every attempt anew.
///
/// # Errors
/// A request whose credential cannot be had must not be sent without.
pub(crate) fn inject(headers: &mut HeaderMap, credentials: &[Credential]) -> Result<(), Failure> {
    for credential in credentials {
        let value = credential.value.as_ref().map_err(Failure::clone)?;
        if credential.overwrite || !headers.contains_key(&credential.header) {
            headers.insert(credential.header.clone(), value.header_value());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::AUTHORIZATION};
    use pailou_snapshot::SecretValue;

    use super::*;

    fn credential(overwrite: bool, value: Result<SecretValue, Failure>) -> [Credential; 1] {
        [Credential { header: AUTHORIZATION, overwrite, value }]
    }

    fn secret() -> Result<SecretValue, Failure> {
        Ok(SecretValue::new(b"Bearer ours").unwrap())
    }

    #[test]
    fn the_clients_own_is_replaced_only_when_asked() {
        let mut headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer theirs"))]);
        inject(&mut headers, &credential(false, secret())).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer theirs");
        inject(&mut headers, &credential(true, secret())).unwrap();
        assert_eq!(headers[AUTHORIZATION], "Bearer ours");
        assert_eq!(headers.get_all(AUTHORIZATION).iter().count(), 1);
        assert!(!format!("{headers:?}").contains("ours"));
    }

    #[test]
    fn nothing_is_sent_without_its_credential() {
        let missing = Err(Failure("Secret default/key does not exist".into()));
        assert!(inject(&mut HeaderMap::new(), &credential(false, missing)).is_err());
    }
}
