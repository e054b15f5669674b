//! Servers of a provider, and the documents that the gateway fetches from them.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, header};
use pailou_api::envoy::oidc::Oidc as Spec;
use pailou_auth::{CredentialSource, DocumentId, Oidc, RedirectUrl};
use pailou_snapshot::{DocumentContent, RemoteDocument};

use crate::status::Problem;

use super::super::{
    policy_document::{PolicyDocument, Servers},
    remote_jwks::MAX_CONNECT_TIMEOUT,
};
use super::{Context, invalid};

/// Time after which endpoints and keys are fetched again.
const CACHE_DURATION: Duration = Duration::from_secs(300);
/// Time after which a failed fetch is repeated.
const FAILED_REFETCH_DURATION: Duration = Duration::from_secs(1);

/// Settings of `oidc`, before its servers are resolved for a rule.
#[derive(Debug)]
pub(crate) struct PolicyOidc {
    pub(crate) settings: Arc<Oidc>,
    /// URL that the provider sends clients back to.
    pub(crate) redirect_url: Arc<RedirectUrl>,
    /// The policy's `jwt` reads the cookies with the tokens.
    pub(crate) reveals_cookies: bool,
    /// The provider's endpoints, and its servers.
    pub(crate) document: PolicyDocument,
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
    let servers = Servers {
        field: FIELD,
        namespace: context.servers,
        refs: &spec.provider.backend_refs,
        settings: spec.provider.backend_settings.as_ref(),
    };
    let document = PolicyDocument::new(context.index, servers, |traffic| RemoteDocument {
        id: DocumentId::default(),
        uri: settings.provider.discovery_url().into(),
        content: DocumentContent::Provider(settings.provider.clone().into()),
        backends: Box::default(),
        connect_timeout: traffic.rule().timeouts.connect.min(MAX_CONNECT_TIMEOUT),
        cache_duration: CACHE_DURATION,
        failed_refetch_duration: FAILED_REFETCH_DURATION,
    })?;
    let names = [&settings.cookie_names.access_token, &settings.cookie_names.id_token];
    let mut sources = context.tokens.iter().flat_map(|tokens| &tokens.providers).flat_map(|provider| &provider.sources);
    let reveals_cookies =
        sources.any(|source| matches!(source, CredentialSource::Cookie(name) if names.iter().any(|own| ***own == **name)));
    Ok(PolicyOidc { settings: Arc::new(settings), redirect_url: Arc::new(redirect_url), reveals_cookies, document })
}

impl PolicyOidc {
    /// Header that backends get the ID token in.
    pub(crate) fn identity_header(&self) -> Option<HeaderName> {
        self.settings.id_token_header.clone().filter(|name| *name != header::AUTHORIZATION)
    }
}
