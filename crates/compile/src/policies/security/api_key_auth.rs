//! `apiKeyAuth` of a SecurityPolicy.

use std::sync::Arc;

use pailou_api::envoy::api_key_auth::{ApiKeyAuth as Spec, ExtractFrom};
use pailou_auth::{ApiKeyAuth, ApiKeys, CredentialSource};

use crate::{headers::header_name, status::Problem};

use super::super::values::invalid;
use super::{identity_header::identity_header, secrets::Secrets};

/// Reads the settings.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(super) fn read(secrets: &Secrets<'_, '_>, spec: &Spec) -> Result<ApiKeyAuth, Problem> {
    let mut keys = ApiKeys::default();
    let mut clients = std::collections::BTreeSet::new();
    if spec.credential_refs.is_empty() {
        return Err(invalid("apiKeyAuth.credentialRefs: name a Secret with the clients' keys"));
    }
    for (at, reference) in spec.credential_refs.iter().enumerate() {
        let field = format!("apiKeyAuth.credentialRefs[{at}]");
        let secret = secrets.find(&field, reference)?;
        // A client that an earlier Secret has keeps the keys that it has there.
        for (client, value) in secret.spec.data.iter().filter(|(client, _)| !clients.contains(*client)) {
            let wrong = |error| invalid(&format!("{field}: key {client} of Secret {}: {error}", reference.name));
            keys.add(client, value.expose()).map_err(wrong)?;
        }
        clients.extend(secret.spec.data.keys().cloned());
    }
    let sources = spec.extract_from.iter().enumerate().map(|(at, it)| sources(at, it)).collect::<Result<Vec<_>, _>>()?;
    if sources.is_empty() {
        return Err(invalid("apiKeyAuth.extractFrom: name a header, query parameter or cookie that the key stands in"));
    }
    let sources = sources.concat();
    let client_id_header = spec.forward_client_id_header.as_deref();
    let client_id_header = client_id_header.map(|name| identity_header("apiKeyAuth.forwardClientIDHeader", name, &sources));
    Ok(ApiKeyAuth {
        client_id_header: client_id_header.transpose()?,
        is_removed: spec.sanitize.unwrap_or(false),
        keys: Arc::new(keys),
        sources,
    })
}

fn sources(at: usize, spec: &ExtractFrom) -> Result<Vec<CredentialSource>, Problem> {
    let lists = [&spec.headers, &spec.params, &spec.cookies];
    if lists.iter().filter(|list| !list.is_empty()).count() != 1 {
        return Err(invalid(&format!("apiKeyAuth.extractFrom[{at}]: set one of headers, params and cookies")));
    }
    let header = |name: &String| {
        let header = |name| CredentialSource::Header { name, prefix: "Bearer ".into(), is_prefix_required: false };
        header_name(name).map(header)
    };
    let others = spec.params.iter().map(|name| CredentialSource::Query(name.as_str().into()));
    let others = others.chain(spec.cookies.iter().map(|name| CredentialSource::Cookie(name.as_str().into())));
    spec.headers.iter().map(header).chain(others.map(Ok)).collect()
}
