//! Headers that backends get identities in.

use http::{HeaderName, header};
use pailou_auth::CredentialSource;

use crate::{headers::header_name, status::Problem};

use super::super::values::invalid;

/// Headers with a meaning of their own. Clients' copies of an identity header are removed on the whole listener, which other routes share.
const RESERVED: [HeaderName; 16] = [
    header::ACCEPT,
    header::ACCEPT_ENCODING,
    header::AUTHORIZATION,
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::EXPECT,
    header::HOST,
    header::ORIGIN,
    header::PROXY_AUTHORIZATION,
    header::REFERER,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The name of a header that backends get an identity in. `sources` are those of the credential.
///
/// # Errors
/// The name is malformed, has a meaning of its own, or is that of a header with the credential.
pub(super) fn identity_header(field: &str, name: &str, sources: &[CredentialSource]) -> Result<HeaderName, Problem> {
    let name = header_name(name)?;
    let is_source = sources.iter().any(|source| matches!(source, CredentialSource::Header { name: own, .. } if *own == name));
    if is_source || has_another_meaning(&name) {
        return Err(invalid(&format!("{field}: {name} has another meaning: take a name such as x-client-id")));
    }
    Ok(name)
}

/// Whether other routes of a listener need a client's header of this name.
pub(super) fn has_another_meaning(name: &HeaderName) -> bool {
    let is_own = ["x-gateway-", "x-envoy-", "x-forwarded-", "access-control-"];
    RESERVED.contains(name) || is_own.iter().any(|prefix| name.as_str().starts_with(prefix))
}
