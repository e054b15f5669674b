//! Redirects, and replacements of paths.

use http::StatusCode;

use crate::status::Problem;
use pailou_api::{
    http_filter::{RedirectScheme, RequestRedirect},
    path_modifier::HttpPathModifier,
};
use pailou_snapshot::{PathRewrite, Redirect};

/// Replacement of a path.
pub(crate) fn path_rewrite(spec: &HttpPathModifier) -> PathRewrite {
    match spec {
        HttpPathModifier::ReplaceFullPath(path) => PathRewrite::Full(path.as_str().into()),
        HttpPathModifier::ReplacePrefixMatch(prefix) => PathRewrite::Prefix(prefix.as_str().into()),
    }
}

pub(crate) fn redirect(spec: &RequestRedirect) -> Result<Redirect, Problem> {
    let status = StatusCode::from_u16(spec.status_code).ok().filter(StatusCode::is_redirection);
    let wrong =
        || Problem::accepted("UnsupportedValue", format!("requestRedirect.statusCode: {} is no redirection", spec.status_code));
    Ok(Redirect {
        scheme: spec.scheme.map(|scheme| match scheme {
            RedirectScheme::Http => "http".into(),
            RedirectScheme::Https => "https".into(),
        }),
        hostname: spec.hostname.as_deref().map(Into::into),
        path: spec.path.as_ref().map(path_rewrite),
        port: spec.port.map(|port| port.get()),
        status: status.ok_or_else(wrong)?,
    })
}
