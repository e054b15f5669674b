//! `responseOverride`: conditions and replacements.

use http::{HeaderName, StatusCode};

use crate::{
    custom_body, grants::Referrer, headers, index::Index, policies::values::invalid, redirect, status::Problem,
    string_match::string_match, template,
};
use pailou_api::{
    envoy::{
        ENVOY_GROUP,
        response_override::{CustomResponse, ResponseOverride as Spec, ResponseSource, StatusCodeMatch},
    },
    header_filter::HttpHeader,
    http_filter::RequestRedirect,
    path_modifier::HttpPathModifier,
};
use pailou_snapshot::{OverrideResponse, OverrideRule, ResponseOverride, Template};

/// The rules of a policy.
pub(super) fn read(index: &Index, namespace: &str, specs: &[Spec]) -> Result<ResponseOverride, Problem> {
    let rules = specs.iter().enumerate().map(|(place, spec)| {
        rule(index, namespace, spec).map_err(|message| invalid(&format!("responseOverride[{place}].{message}")))
    });
    rules.collect::<Result<_, _>>().map(ResponseOverride)
}

fn rule(index: &Index, namespace: &str, spec: &Spec) -> Result<OverrideRule, String> {
    let statuses = spec.matches.status_codes.iter().map(|it| match it {
        StatusCodeMatch::Value(status) => (*status, *status),
        StatusCodeMatch::Range(first, last) => (*first, *last),
    });
    let headers = spec.matches.response_headers.iter().map(|it| Ok((header_name(&it.name)?, string_match(&it.value)?)));
    let statuses: Vec<_> = statuses.collect();
    let headers = headers.collect::<Result<Vec<_>, String>>().map_err(|message| format!("match.responseHeaders: {message}"))?;
    if statuses.is_empty() && headers.is_empty() {
        return Err("match: set statusCodes or responseHeaders".into());
    }
    let with = match (&spec.response, &spec.redirect) {
        (Some(spec), None) => response(index, namespace, spec).map_err(|message| format!("response.{message}"))?,
        (None, Some(spec)) => redirect(spec).map_err(|message| format!("redirect.{message}"))?,
        _ => return Err("response: set one of response and redirect".into()),
    };
    let local = match spec.source {
        None | Some(ResponseSource::All) => None,
        Some(ResponseSource::Local) => Some(true),
        Some(ResponseSource::Backend) => Some(false),
    };
    Ok(OverrideRule { statuses, headers, local, with })
}

fn response(index: &Index, namespace: &str, spec: &CustomResponse) -> Result<OverrideResponse, String> {
    let status =
        spec.status_code.map(|status| StatusCode::from_u16(status).map_err(|_| format!("statusCode: {status} is no HTTP status")));
    let body = match &spec.body {
        None => Template::default(),
        Some(body) => {
            let from = Referrer { group: ENVOY_GROUP, kind: "BackendTrafficPolicy", namespace };
            let body = custom_body::read(index, from, body).map_err(|message| format!("body: {message}"))?;
            let text = String::from_utf8(body).map_err(|_| "body: is not UTF-8".to_owned())?;
            template::strict(&text).map_err(|message| format!("body: {message}"))?
        }
    };
    let content_type = spec.content_type.as_deref().map(|it| headers::header_value("Content-Type", it)).transpose();
    let header = spec.header.clone().unwrap_or_default();
    if !header.remove.is_empty() {
        return Err("header.remove: is not supported here".into());
    }
    let edits = |headers: &[HttpHeader]| {
        let edit = |it: &HttpHeader| {
            headers::header_value(&it.name, &it.value).map_err(|problem| problem.message)?;
            Ok((header_name(&it.name)?, template::strict(&it.value)?))
        };
        headers.iter().map(edit).collect::<Result<Vec<_>, String>>().map_err(|message| format!("header: {message}"))
    };
    Ok(OverrideResponse::Response {
        status: status.transpose()?,
        body,
        content_type: content_type.map_err(|problem| format!("contentType: {}", problem.message))?,
        set: edits(&header.set)?,
        add: edits(&header.add)?,
    })
}

fn redirect(spec: &RequestRedirect) -> Result<OverrideResponse, String> {
    if matches!(spec.path, Some(HttpPathModifier::ReplacePrefixMatch(_))) {
        return Err("path: only ReplaceFullPath is supported here".into());
    }
    if !matches!(spec.status_code, 301 | 302) {
        return Err(format!("statusCode: {} is neither 301 nor 302", spec.status_code));
    }
    redirect::redirect(spec).map(OverrideResponse::Redirect).map_err(|problem| problem.message)
}

fn header_name(name: &str) -> Result<HeaderName, String> {
    headers::header_name(name).map_err(|problem| problem.message)
}
