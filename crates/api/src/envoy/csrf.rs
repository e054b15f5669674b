//! SecurityPolicy `csrf`.

use serde::Deserialize;

use crate::http_filter::Fraction;

/// Cross-site request forgery.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Csrf {
    /// Share of requests that are judged and pass all the same; none by default.
    #[serde(default)]
    pub shadow_fraction: Option<Fraction>,
    /// Origins beside the request's own host, at most 16. `*` allows any; their scheme does not count.
    #[serde(default)]
    pub additional_origins: Vec<String>,
}
