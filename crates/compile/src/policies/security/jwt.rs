//! `jwt` of a SecurityPolicy.

use std::{collections::BTreeSet, sync::Arc};

use http::header;
use pailou_api::envoy::jwt::{Jwt as Spec, JwtExtractor, JwtProvider as ProviderSpec, LocalJwks, LocalJwksType};
use pailou_auth::{ClaimToHeader, CredentialSource, JwkSet, JwtAuth, JwtProvider, JwtRequirement, KeySource, TokenChecks};

use crate::{headers::header_name, status::Problem};

use super::super::values::invalid;
use super::{identity_header::identity_header, policy_document::PolicyDocument, remote_jwks, secrets::Secrets};

/// Most providers of a policy.
const MAX_PROVIDERS: usize = 16;
/// Key of the key set in its ConfigMap.
const JWKS: &str = "jwks";

/// Reads the settings.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(super) fn read(secrets: &Secrets<'_, '_>, spec: &Spec) -> Result<(JwtAuth, Vec<PolicyDocument>), Problem> {
    let requirement = match (spec.optional.unwrap_or(false), spec.fail_open.unwrap_or(false)) {
        (true, true) => return Err(invalid("jwt: set one of optional and failOpen")),
        (true, false) => JwtRequirement::ValidOrMissing,
        (false, true) => JwtRequirement::Any,
        (false, false) => JwtRequirement::Valid,
    };
    if spec.providers.is_empty() || spec.providers.len() > MAX_PROVIDERS {
        return Err(invalid(&format!("jwt.providers: name 1 to {MAX_PROVIDERS} providers")));
    }
    let mut names = BTreeSet::new();
    let (mut providers, mut documents) = (Vec::new(), Vec::new());
    for (at, spec) in spec.providers.iter().enumerate() {
        if !names.insert(&spec.name) {
            return Err(invalid(&format!("jwt.providers[{at}].name: {} is there twice", spec.name)));
        }
        let field = format!("jwt.providers[{at}]");
        let keys = keys(secrets, &field, spec, &mut documents)?;
        providers.push(Arc::new(provider(&field, spec, keys)?));
    }
    Ok((JwtAuth { providers, requirement }, documents))
}

/// The source of a provider's keys. A document is put among those to fetch.
fn keys(
    secrets: &Secrets<'_, '_>,
    field: &str,
    spec: &ProviderSpec,
    documents: &mut Vec<PolicyDocument>,
) -> Result<KeySource, Problem> {
    match (&spec.local_jwks, &spec.remote_jwks) {
        (Some(local), None) => {
            local_keys(secrets, &format!("{field}.localJWKS"), local).map(|keys| KeySource::Local(Arc::new(keys)))
        }
        (None, Some(remote)) => {
            let document = remote_jwks::read(secrets.index(), secrets.namespace(), &format!("{field}.remoteJWKS"), remote)?;
            let id = document.document.id;
            documents.push(document);
            Ok(KeySource::Remote(id))
        }
        _ => Err(invalid(&format!("{field}: set one of remoteJWKS and localJWKS"))),
    }
}

fn provider(field: &str, spec: &ProviderSpec, keys: KeySource) -> Result<JwtProvider, Problem> {
    if !(1..=253).contains(&spec.name.len()) {
        return Err(invalid(&format!("{field}.name: write 1 to 253 characters")));
    }
    let sources = spec.extract_from.as_ref().map_or_else(|| Ok(default_sources()), sources)?;
    let claim_headers = spec.claim_to_headers.iter().map(|it| {
        let claim = path(&it.claim)
            .ok_or_else(|| invalid(&format!("{field}.claimToHeaders: the claim {:?} has an empty part", it.claim)))?;
        let header = identity_header(&format!("{field}.claimToHeaders"), &it.header, &sources)?;
        Ok(ClaimToHeader { header, claim })
    });
    let recompute_route = spec.recompute_route.unwrap_or(false);
    if recompute_route && spec.claim_to_headers.is_empty() {
        return Err(invalid(&format!("{field}.recomputeRoute: it needs claimToHeaders, by which the route is chosen again")));
    }
    let issuer = spec.issuer.as_deref().filter(|issuer| !issuer.is_empty());
    Ok(JwtProvider {
        name: spec.name.as_str().into(),
        checks: TokenChecks {
            issuer: issuer.map(Into::into),
            audiences: spec.audiences.iter().map(|it| it.as_str().into()).collect(),
        },
        claim_headers: claim_headers.collect::<Result<_, _>>()?,
        sources,
        recompute_route,
        keys,
    })
}

/// Members that a claim's name descends by.
pub(super) fn path(claim: &str) -> Option<Vec<Box<str>>> {
    claim.split('.').map(|name| (!name.is_empty()).then(|| name.into())).collect()
}

/// Envoy's places of a token.
fn default_sources() -> Vec<CredentialSource> {
    let bearer = CredentialSource::Header { name: header::AUTHORIZATION, prefix: "Bearer ".into(), is_prefix_required: true };
    vec![bearer, CredentialSource::Query("access_token".into())]
}

fn sources(spec: &JwtExtractor) -> Result<Vec<CredentialSource>, Problem> {
    let headers = spec.headers.iter().map(|it| {
        let prefix = it.value_prefix.as_deref().unwrap_or_default();
        let name = header_name(&it.name)?;
        Ok(CredentialSource::Header { name, prefix: prefix.into(), is_prefix_required: !prefix.is_empty() })
    });
    let cookies = spec.cookies.iter().map(|name| CredentialSource::Cookie(name.as_str().into()));
    let params = spec.params.iter().map(|name| CredentialSource::Query(name.as_str().into()));
    headers.chain(cookies.chain(params).map(Ok)).collect()
}

fn local_keys(secrets: &Secrets<'_, '_>, field: &str, spec: &LocalJwks) -> Result<JwkSet, Problem> {
    let set = match (spec.kind, &spec.inline, &spec.value_ref) {
        (LocalJwksType::Inline, Some(inline), None) => JwkSet::parse(inline.as_bytes()),
        (LocalJwksType::ValueRef, None, Some(to)) => {
            let map = &secrets.config_map(&format!("{field}.valueRef"), to)?.spec;
            let first = || map.data.keys().next().and_then(|key| map.bytes(key));
            let text = map.bytes(JWKS).or_else(first);
            let text = text.ok_or_else(|| invalid(&format!("{field}.valueRef: ConfigMap {} has no key {JWKS}", to.name)))?;
            JwkSet::parse(text)
        }
        (LocalJwksType::Inline, ..) => return Err(invalid(&format!("{field}: type Inline needs inline, and no valueRef"))),
        (LocalJwksType::ValueRef, ..) => return Err(invalid(&format!("{field}: type ValueRef needs valueRef, and no inline"))),
    };
    set.map_err(|error| invalid(&format!("{field}: {error}")))
}
