//! Servers of a provider.

use std::sync::Arc;

use http::{HeaderName, header};
use pailou_api::{
    envoy::{ENVOY_GROUP, oidc::Oidc as Spec},
    refs::BackendRef,
};
use pailou_auth::{CredentialSource, Oidc, RedirectUrl};

use crate::{grants::Referrer, servers, status::Problem};

use super::super::super::{server_settings, traffic::Traffic};
use super::{Context, invalid};

/// Most servers.
const MAX_BACKENDS: usize = 16;

/// Settings of `oidc`, before its servers are resolved for a rule.
#[derive(Debug)]
pub(crate) struct PolicyOidc {
    pub(crate) settings: Arc<Oidc>,
    /// URL that the provider sends clients back to.
    pub(crate) redirect_url: Arc<RedirectUrl>,
    /// The policy's `jwt` reads the cookies with the tokens.
    pub(crate) reveals_cookies: bool,
    /// Namespace of the policy that names the servers.
    namespace: String,
    /// Servers, by weight; the hosts of the provider's URLs if empty.
    pub(crate) refs: Vec<BackendRef>,
    /// Settings of their clusters.
    pub(crate) traffic: Traffic,
}

/// Reads the servers.
///
/// # Errors
/// The first that cannot be had.
pub(super) fn read(
    context: &Context<'_, '_, '_>,
    spec: &Spec,
    settings: Oidc,
    redirect_url: RedirectUrl,
) -> Result<PolicyOidc, Problem> {
    const FIELD: &str = "oidc.provider";
    if spec.provider.backend_ref.is_some() {
        return Err(invalid(&format!("{FIELD}.backendRef: write backendRefs in its place")));
    }
    let refs = spec.provider.backend_refs.clone();
    if refs.len() > MAX_BACKENDS {
        return Err(invalid(&format!("{FIELD}.backendRefs: {} backends, but at most {MAX_BACKENDS} are allowed", refs.len())));
    }
    for (place, to) in refs.iter().enumerate() {
        let found = servers::check(context.index, referrer(context.servers), &to.target());
        found.map_err(|problem| invalid(&format!("{FIELD}.backendRefs[{place}]: {}", problem.message)))?;
    }
    let traffic = server_settings::read(context.index, FIELD, spec.provider.backend_settings.as_ref())?;
    let names = [&settings.cookie_names.access_token, &settings.cookie_names.id_token];
    let mut sources = context.tokens.iter().flat_map(|tokens| &tokens.providers).flat_map(|provider| &provider.sources);
    let reveals_cookies =
        sources.any(|source| matches!(source, CredentialSource::Cookie(name) if names.iter().any(|own| ***own == **name)));
    Ok(PolicyOidc {
        settings: Arc::new(settings),
        redirect_url: Arc::new(redirect_url),
        reveals_cookies,
        namespace: context.servers.to_owned(),
        refs,
        traffic,
    })
}

fn referrer(namespace: &str) -> Referrer<'_> {
    Referrer { group: ENVOY_GROUP, kind: "SecurityPolicy", namespace }
}

impl PolicyOidc {
    /// The policy, as one that refers to others.
    pub(crate) fn referrer(&self) -> Referrer<'_> {
        referrer(&self.namespace)
    }

    /// Header that backends get the ID token in.
    pub(crate) fn identity_header(&self) -> Option<HeaderName> {
        self.settings.id_token_header.clone().filter(|name| *name != header::AUTHORIZATION)
    }
}
