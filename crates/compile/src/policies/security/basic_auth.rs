//! `basicAuth` of a SecurityPolicy.

use std::sync::Arc;

use pailou_api::envoy::basic_auth::BasicAuth as Spec;
use pailou_auth::{BasicAuth, Users};

use crate::status::Problem;

use super::super::values::invalid;
use super::{identity_header::identity_header, secrets::Secrets};

/// Key of the password file in its Secret.
const FILE: &str = ".htpasswd";

/// Reads the settings.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(super) fn read(secrets: &Secrets<'_, '_>, spec: &Spec) -> Result<BasicAuth, Problem> {
    const FIELD: &str = "basicAuth.users";
    let secret = secrets.find(FIELD, &spec.users)?;
    let wrong = |message: String| invalid(&format!("{FIELD}: key {FILE} of Secret {}: {message}", spec.users.name));
    let file = secret.spec.data.get(FILE).ok_or_else(|| wrong("it is missing".to_owned()))?;
    let file = std::str::from_utf8(file.expose()).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    let users = Users::parse(file).map_err(|error| wrong(error.to_string()))?;
    let username_header = spec.forward_username_header.as_deref();
    let username_header = username_header.map(|name| identity_header("basicAuth.forwardUsernameHeader", name, &[]));
    Ok(BasicAuth { username_header: username_header.transpose()?, users: Arc::new(users) })
}
