//! Limits of a backend: an annotation of Services, Backends and InferencePools. Envoy Gateway's BackendTrafficPolicy cannot target a backend,
//! and its schema refuses one that does.

use std::sync::Arc;

use pailou_api::{Meta, envoy::rate_limit::RateLimit};
use pailou_snapshot::{Name, RateLimitFilter};

use crate::{index::Index, limit_backend, policies::http_filters::rate_limit, status::Problem};

/// Annotation with the limits, as `rateLimit` of a BackendTrafficPolicy has them.
pub(crate) const LIMIT_ANNOTATION: &str = "pailou.dev/rate-limit";

/// The limits of a backend of this kind; `None` if it has none.
///
/// # Errors
/// Why the annotation cannot be read, or why the gateway cannot enforce it, with the field.
pub(crate) fn read(index: &Index<'_>, kind: &str, meta: &Meta) -> Result<Option<Arc<RateLimitFilter>>, String> {
    let Some(text) = meta.annotation(LIMIT_ANNOTATION) else { return Ok(None) };
    let in_annotation = |reason: &str| format!("metadata.annotations[{LIMIT_ANNOTATION}]: {reason}");
    let in_spec = |problem: Problem| in_annotation(problem.message.strip_prefix("spec.").unwrap_or(&problem.message));
    let spec = RateLimit::parse(text).map_err(|reason| in_annotation(&reason))?;
    limit_backend::read(index).map_err(in_spec)?;
    // No policy has such a name.
    let origin = Name::new(&meta.namespace, &format!("{kind}/{}", meta.name));
    let limits = rate_limit::of_backend(&spec, &origin).map_err(in_spec)?;
    let backend = format!("{kind} {}/{}", meta.namespace, meta.name);
    Ok(Some(Arc::new(RateLimitFilter { backend: Some(backend.into()), ..limits })))
}
