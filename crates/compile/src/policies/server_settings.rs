//! `backendSettings` of the servers that policies name.

use pailou_api::envoy::backend_settings::BackendSettings;

use crate::{index::Index, status::Problem};

use super::{http_filters::Sources, traffic::Traffic};

/// Reads the settings of a server that stands in a field of a policy.
///
/// # Errors
/// The first value that is invalid.
pub(crate) fn read(index: &Index<'_>, field: &str, settings: Option<&BackendSettings>) -> Result<Traffic, Problem> {
    let Some(settings) = settings else { return Ok(Traffic::default()) };
    // Servers have neither replaced responses nor limits.
    let sources = Sources { namespace: "", local: &[], global: &[] };
    let named = |problem: Problem| {
        let message = problem.message.strip_prefix("spec.").unwrap_or(&problem.message);
        Problem { message: format!("spec.{field}.backendSettings.{message}"), ..problem }
    };
    Traffic::new(index, &settings.traffic(), &sources).map_err(named)
}
