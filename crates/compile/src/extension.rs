//! HTTPRouteFilter of Envoy Gateway: credentials, rewrites, direct responses, cookie matches.

use std::sync::Arc;

use http::{StatusCode, header};

use crate::{status::Problem, template};
use pailou_api::{
    EnvoyHttpRouteFilter, Kind,
    envoy::{
        ENVOY_GROUP,
        http_route_filter::{CredentialInjection, DirectResponse as SpecResponse, EnvoyHostRewrite, EnvoyUrlRewrite},
    },
    references::Reference,
    refs::LocalObjectReference,
};
use pailou_snapshot::{Action, Credential, DirectResponse, Failure, HostRewrite, PathRewrite, QueryMatch, Rewrite, SecretValue};

use super::{
    custom_body,
    filter_set::{self, FilterSet},
    grants::Referrer,
    headers,
    index::Index,
    matches, regexes,
    rule_context::RuleContext,
    wrong_kind::{self, Named},
};

/// Applies the filter that a reference leads to.
pub(crate) fn apply(
    context: &mut RuleContext<'_, '_, '_>,
    set: &mut FilterSet,
    reference: &LocalObjectReference,
) -> Result<(), Problem> {
    if reference.group != ENVOY_GROUP || reference.kind != "HTTPRouteFilter" {
        let named = Named { group: &reference.group, kind: &reference.kind, name: &reference.name };
        let message = format!("{}: {}", context.field, wrong_kind::message(named, &[Kind::EnvoyHttpRouteFilter]));
        return Err(Problem::refs("InvalidKind", message));
    }
    let namespace = context.namespace();
    let Some(filter) = context.index().route_filters.get(namespace, &reference.name) else {
        let message = format!("{}: there is no HTTPRouteFilter {} in namespace {namespace}", context.field, reference.name);
        return Err(Problem::refs("BackendNotFound", message));
    };
    for path in filter.spec.unsupported() {
        context.ignored(format!("HTTPRouteFilter {namespace}/{} spec.{path}", reference.name));
    }
    if let Some(spec) = &filter.spec.credential_injection {
        let value = secret(context.index(), filter, spec);
        if let Err(problem) = &value {
            set.fail(context, problem.clone());
        }
        let header = spec.header.as_deref().map_or(Ok(header::AUTHORIZATION), headers::header_name)?;
        let value = value.map_err(|problem| Failure(problem.message.into()));
        set.filters.credentials.push(Credential { header, overwrite: spec.overwrite, value });
    }
    if let Some(spec) = &filter.spec.url_rewrite {
        filter_set::lay_over(&mut set.filters.rewrite, rewrite(spec)?);
    }
    if let Some(spec) = &filter.spec.direct_response {
        set.answer = Some(Action::Respond(Arc::new(direct_response(context.index(), namespace, spec)?)));
    }
    for alternative in &filter.spec.matches {
        let cookie = |it: &pailou_api::envoy::http_route_filter::CookieMatch| -> Result<_, Problem> {
            Ok(QueryMatch {
                name: it.name.as_str().into(),
                value: matches::value("matches[].cookies[].value", it.kind, &it.value)?,
            })
        };
        set.cookies.push(alternative.cookies.iter().map(cookie).collect::<Result<_, _>>()?);
    }
    Ok(())
}

fn referrer(namespace: &str) -> Referrer<'_> {
    Referrer { group: ENVOY_GROUP, kind: "HTTPRouteFilter", namespace }
}

/// The credential, verbatim but for a trailing line end.
fn secret(index: &Index<'_>, filter: &EnvoyHttpRouteFilter, spec: &CredentialInjection) -> Result<SecretValue, Problem> {
    let reference = &spec.credential.value_ref;
    let own = filter.meta.namespace.as_str();
    let wrong = |what: String| {
        let message = format!("HTTPRouteFilter {own}/{}: credentialInjection.credential.valueRef: {what}", filter.meta.name);
        Problem::accepted("UnsupportedValue", message)
    };
    let Some(found) = Reference::secret(referrer(own), reference) else {
        let named = Named { group: &reference.group, kind: &reference.kind, name: &reference.name };
        return Err(wrong(wrong_kind::message(named, &[Kind::Secret])));
    };
    let namespace = found.to.namespace;
    let secret =
        index.secret(found).map_err(|problem| wrong(problem.message))?.ok_or_else(|| wrong(missing(namespace, &reference.name)))?;
    let bytes = secret.spec.data.get("credential");
    let bytes = bytes.ok_or_else(|| wrong(format!("Secret {namespace}/{} has no key credential", reference.name)))?.expose();
    let bytes = bytes.strip_suffix(b"\n").map_or(bytes, |bytes| bytes.strip_suffix(b"\r").unwrap_or(bytes));
    let value = SecretValue::new(bytes).filter(|_| !bytes.is_empty());
    value.ok_or_else(|| {
        wrong(format!("key credential of Secret {namespace}/{} is empty or cannot stand in a header", reference.name))
    })
}

/// A Secret that is not there, and the two ways to make it.
fn missing(namespace: &str, name: &str) -> String {
    let (in_namespace, prefix) = match namespace {
        "default" => (String::new(), String::new()),
        _ => (format!(" -n {namespace}"), format!("{namespace}/")),
    };
    format!(
        "there is no Secret {name} in namespace {namespace}: make it with \
         `kubectl create secret generic{in_namespace} {name} --from-literal=credential=\"Bearer …\"`, \
         or without a cluster by `--secret {prefix}{name}=PATH`"
    )
}

fn rewrite(spec: &EnvoyUrlRewrite) -> Result<Rewrite, Problem> {
    let host = match &spec.hostname {
        Some(EnvoyHostRewrite::Header(name)) => Some(HostRewrite::Header(headers::header_name(name)?)),
        Some(EnvoyHostRewrite::Backend) => Some(HostRewrite::Backend),
        // Named as not acted on.
        Some(EnvoyHostRewrite::PathRegex(_)) | None => None,
    };
    let regex = spec.path.as_ref().map(|path| &path.replace_regex_match);
    let path = regex.map(|it| -> Result<_, Problem> {
        let pattern = regexes::part("urlRewrite.path.replaceRegexMatch.pattern", &it.pattern)?;
        Ok(PathRewrite::Regex(pattern, substitution(&it.substitution).into()))
    });
    Ok(Rewrite { host, path: path.transpose()? })
}

/// `\1` names a group, as in RE2; the `regex` crate writes `${1}`, and `$$` for a dollar sign.
fn substitution(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    out.push_str("${");
                    out.push(digit);
                    out.push('}');
                }
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            other => out.push(other),
        }
    }
    out
}

fn direct_response(index: &Index<'_>, namespace: &str, spec: &SpecResponse) -> Result<DirectResponse, Problem> {
    let wrong = |message: String| Problem::accepted("UnsupportedValue", format!("directResponse.{message}"));
    let body = spec.body.as_ref().map(|body| custom_body::read(index, referrer(namespace), body));
    let body = body.transpose().map_err(|message| wrong(format!("body: {message}")))?.unwrap_or_default();
    let status = spec.status_code.unwrap_or(200);
    Ok(DirectResponse {
        status: StatusCode::from_u16(status).map_err(|_| wrong(format!("statusCode: {status} is no status")))?,
        template: str::from_utf8(&body).ok().and_then(template::lenient),
        body: body.into(),
        content_type: spec.content_type.as_deref().map(|it| headers::header_value("Content-Type", it)).transpose()?,
        headers: spec.header.as_ref().map(headers::edit_of).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn groups_are_named_as_the_library_has_it() {
        assert_eq!(super::substitution(r"/a/\1$x\\"), r"/a/${1}$$x\");
    }
}
