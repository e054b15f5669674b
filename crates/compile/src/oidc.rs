//! Login at a provider: the filter of a rule, with the clusters of the provider's servers.

use pailou_snapshot::{ClusterKey, OidcFilter};

use crate::{policies::security::oidc::PolicyOidc, resolver::Load, rule_context::RuleContext, status::Problem};

/// The filter of a rule.
///
/// # Errors
/// A server cannot be had.
pub(crate) fn of_rule(context: &mut RuleContext<'_, '_, '_>, policy: &PolicyOidc) -> Result<OidcFilter, Problem> {
    let backends = policy.refs.iter().enumerate().map(|(place, to)| {
        let found = context.resolver.policy_server(policy.referrer(), &to.target(), Load::Http, &policy.traffic);
        let cluster = found.map_err(|problem| {
            let message = format!("SecurityPolicy: spec.oidc.provider.backendRefs[{place}]: {}", problem.message);
            Problem { message, ..problem }
        })?;
        Ok((to.weight, context.resolver.held(cluster)))
    });
    Ok(OidcFilter {
        settings: policy.settings.clone(),
        redirect_url: policy.redirect_url.clone(),
        backends: backends.collect::<Result<Vec<(u32, ClusterKey)>, Problem>>()?.into(),
        reveals_cookies: policy.reveals_cookies,
    })
}
