//! `csrf` of a SecurityPolicy.

use pailou_api::envoy::csrf::Csrf as Spec;
use pailou_auth::{Csrf, OriginPattern};
use pailou_snapshot::Fraction;

use crate::status::Problem;

use super::super::values::invalid;

/// Most additional origins.
const MAX_ORIGINS: usize = 16;

/// Reads the settings, and the share of requests that are judged and pass all the same.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(super) fn read(spec: &Spec) -> Result<(Csrf, Option<Fraction>), Problem> {
    if spec.additional_origins.len() > MAX_ORIGINS {
        return Err(invalid(&format!("csrf.additionalOrigins: write at most {MAX_ORIGINS}")));
    }
    let shadow = match spec.shadow_fraction {
        None => None,
        Some(share) if share.denominator == 0 || share.numerator > share.denominator => {
            return Err(invalid("csrf.shadowFraction: the numerator is 0 to the denominator, which is at least 1"));
        }
        Some(share) => Some(Fraction { numerator: share.numerator, denominator: share.denominator }),
    };
    let origins = spec.additional_origins.iter().map(|text| origin(text));
    Ok((Csrf { additional_origins: origins.collect::<Result<_, _>>()? }, shadow))
}

/// Host and port: the scheme does not count.
fn origin(text: &str) -> Result<OriginPattern, Problem> {
    let lower = text.to_ascii_lowercase();
    let host = lower.split_once("://").map_or(&*lower, |(_, host)| host);
    match host.strip_prefix('*') {
        Some("") => Ok(OriginPattern::Any),
        Some(suffix) if suffix.starts_with('.') && !suffix.contains('*') => Ok(OriginPattern::Suffix(suffix.into())),
        None if !host.is_empty() && !host.contains(['*', '/']) => Ok(OriginPattern::Exact(host.into())),
        _ => Err(invalid(&format!(
            "csrf.additionalOrigins: {text:?}: write * or an origin such as https://app.example.com or https://*.example.com"
        ))),
    }
}
