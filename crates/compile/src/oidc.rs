//! Login at a provider: the filter of a rule, with the clusters of the provider's servers, and the cookies of a route's clients.

use pailou_auth::CookieNames;
use pailou_snapshot::{CookieHosts, HostPattern, OidcFilter};

use crate::{
    output::RouteCookies, policies::security::oidc::PolicyOidc, remote_documents, route::Route, rule_context::RuleContext,
    status::Problem,
};

/// Cookies of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CookieSettings {
    names: CookieNames,
    domain: Option<Box<str>>,
}

/// The filter of a rule.
///
/// # Errors
/// A server cannot be had.
pub(crate) fn of_rule(context: &mut RuleContext<'_, '_, '_>, policy: &PolicyOidc) -> Result<OidcFilter, Problem> {
    let document = remote_documents::of_policy(context, &policy.document)?;
    if !context.resolver.is_dry {
        let (names, domain) = (policy.settings.cookie_names.clone(), policy.settings.cookies.domain.clone());
        context.resolver.cookies.insert(CookieSettings { names, domain });
    }
    Ok(OidcFilter {
        settings: policy.settings.clone(),
        redirect_url: policy.redirect_url.clone(),
        document: document.id,
        backends: document.backends,
        reveals_cookies: policy.reveals_cookies,
    })
}

/// The cookies of a policy that clients of a route have, on a listener with this host name.
pub(crate) fn route_cookies(settings: &CookieSettings, route: &Route<'_>, listener: Option<&HostPattern>) -> RouteCookies {
    let CookieSettings { names, domain } = settings;
    let hosts = match names.chosen().next() {
        Some(_) => hosts(&route.hostnames, listener).chain(domain.clone().map(CookieHosts::Domain)).collect(),
        // The gateway removes generated names wherever they come.
        None => Vec::new(),
    };
    RouteCookies { names: names.clone(), namespace: route.meta.namespace.as_str().into(), hosts }
}

/// Hosts of a route on a listener.
fn hosts(route: &[HostPattern], listener: Option<&HostPattern>) -> impl Iterator<Item = CookieHosts> {
    let any = route.is_empty().then(|| listener.map_or(CookieHosts::Any, |listener| CookieHosts::Pattern(listener.clone())));
    let meet = move |host: &HostPattern| listener.map_or_else(|| Some(host.clone()), |listener| listener.intersection(host));
    any.into_iter().chain(route.iter().filter_map(meet).map(CookieHosts::Pattern))
}
