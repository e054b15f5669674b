//! Session persistence of a rule.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use pailou_api::session::{CookieLifetime, SessionPersistence as Spec, SessionPersistenceType};
use pailou_snapshot::{RouteName, SessionCarrier, SessionPersistence};

use super::rule_context::RuleContext;

/// The header where a rule gives no name.
const HEADER: &str = "x-gateway-session";

/// Sessions of a rule's clients.
pub(crate) fn session(context: &mut RuleContext<'_, '_, '_>, spec: Option<&Spec>) -> Option<Arc<SessionPersistence>> {
    let spec = spec?;
    if spec.idle_timeout.is_some() {
        context.ignored(format!("{}.sessionPersistence.idleTimeout", context.field));
    }
    let carrier = match spec.kind {
        SessionPersistenceType::Cookie => SessionCarrier::Cookie {
            name: spec.name().map_or_else(|| cookie_name(&context.name), str::to_owned).into(),
            path: spec.cookie.as_ref().map_or("/", |cookie| &cookie.path).into(),
            is_permanent: spec.cookie_lifetime() == CookieLifetime::Permanent,
        },
        SessionPersistenceType::Header => SessionCarrier::Header(spec.name().unwrap_or(HEADER).parse().ok()?),
    };
    Some(Arc::new(SessionPersistence { carrier, absolute_timeout: spec.absolute_timeout.and_then(|it| it.enabled()) }))
}

/// A name of its own for each rule: two rules' sessions must not end each other.
fn cookie_name(route: &RouteName) -> String {
    let mut hasher = DefaultHasher::new();
    route.hash(&mut hasher);
    format!("gateway-session-{:08x}", hasher.finish() as u32)
}
