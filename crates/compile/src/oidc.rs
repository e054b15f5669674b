//! Login at a provider: the filter of a rule, with the clusters of the provider's servers.

use pailou_snapshot::OidcFilter;

use crate::{policies::security::oidc::PolicyOidc, remote_documents, rule_context::RuleContext, status::Problem};

/// The filter of a rule.
///
/// # Errors
/// A server cannot be had.
pub(crate) fn of_rule(context: &mut RuleContext<'_, '_, '_>, policy: &PolicyOidc) -> Result<OidcFilter, Problem> {
    let document = remote_documents::of_policy(context, &policy.document)?;
    if !context.resolver.is_dry {
        context.resolver.cookie_names.insert(policy.settings.cookie_names.clone());
    }
    Ok(OidcFilter {
        settings: policy.settings.clone(),
        redirect_url: policy.redirect_url.clone(),
        document: document.id,
        backends: document.backends,
        reveals_cookies: policy.reveals_cookies,
    })
}
