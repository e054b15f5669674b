//! `authorization` of a SecurityPolicy.

use std::sync::Arc;

use http::Method;
use pailou_api::envoy::authorization::{
    Authorization as Spec, AuthorizationAction, AuthorizationOperation, AuthorizationPathType, AuthorizationPrincipal,
    AuthorizationRule as RuleSpec, JwtClaim, JwtClaimType, JwtPrincipal,
};
use pailou_auth::{
    Authorization, AuthorizationRule, ClaimRule, ClaimValue, Condition, HeaderRule, JwtAuth, JwtRule, Operation, PathRule,
    PathValue, Principal, RuleAction,
};
use pailou_snapshot::DeniedModel;

use crate::{headers::header_name, regexes, status::Problem};

use super::super::values::{self, invalid};
use super::{geo_location, jwt};

/// Annotation of a SecurityPolicy: the response to a client that may not use a model.
pub(super) const DENIED_MODEL_ANNOTATION: &str = "pailou.dev/denied-model";

/// Reads the response to a client that may not use a model, by the annotation's value.
///
/// # Errors
/// There is no such response.
pub(super) fn denied_model(value: Option<&str>) -> Result<DeniedModel, Problem> {
    match value {
        None => Ok(DeniedModel::Unnamed),
        Some("Forbidden") => Ok(DeniedModel::Forbidden),
        Some("NotFound") => Ok(DeniedModel::NotFound),
        Some(other) => {
            let message =
                format!("metadata.annotations[{DENIED_MODEL_ANNOTATION}]: {other:?}: use Forbidden (403) or NotFound (404)");
            Err(Problem::accepted("Invalid", message))
        }
    }
}

/// Reads the settings. `tokens` are those of the same policy.
///
/// # Errors
/// The first value that the gateway cannot enforce.
pub(super) fn read(spec: &Spec, tokens: Option<&JwtAuth>) -> Result<Authorization, Problem> {
    let rules = spec.rules.iter().enumerate().map(|(at, spec)| rule(&format!("authorization.rules[{at}]"), spec, tokens));
    Ok(Authorization {
        rules: rules.collect::<Result<_, _>>()?,
        default_action: spec.default_action.map_or(RuleAction::Deny, action),
    })
}

fn action(action: AuthorizationAction) -> RuleAction {
    match action {
        AuthorizationAction::Allow => RuleAction::Allow,
        AuthorizationAction::Deny => RuleAction::Deny,
    }
}

fn rule(field: &str, spec: &RuleSpec, tokens: Option<&JwtAuth>) -> Result<AuthorizationRule, Problem> {
    let condition = spec.cel.as_deref().map(|text| {
        let condition = Condition::parse(text).map_err(|error| invalid(&format!("{field}.cel: {error}")))?;
        Ok(Arc::new(condition))
    });
    let condition = condition.transpose()?;
    let callers = match &spec.principal {
        Some(spec) => principal(&format!("{field}.principal"), spec, tokens)?,
        None if condition.is_some() => Principal::default(),
        None => return Err(invalid(&format!("{field}: set at least one of principal and cel"))),
    };
    Ok(AuthorizationRule {
        action: action(spec.action),
        principal: callers,
        operation: spec.operation.as_ref().map(|spec| operation(&format!("{field}.operation"), spec)).transpose()?,
        condition,
    })
}

fn principal(field: &str, spec: &AuthorizationPrincipal, tokens: Option<&JwtAuth>) -> Result<Principal, Problem> {
    let locations = &spec.client_ip_geo_locations;
    if spec.client_cidrs.is_empty() && spec.jwt.is_none() && spec.headers.is_empty() && locations.is_empty() {
        return Err(invalid(&format!("{field}: set at least one of clientCIDRs, jwt, headers and clientIPGeoLocations")));
    }
    let location = |(at, spec)| geo_location::read(&format!("{field}.clientIPGeoLocations[{at}]"), spec);
    let range = |text: &String| text.parse().map_err(|error| invalid(&format!("{field}.clientCIDRs: {text:?}: {error}")));
    let header = |spec: &pailou_api::envoy::authorization::AuthorizationHeader| match spec.values.is_empty() {
        true => Err(invalid(&format!("{field}.headers: {}: write at least one value", spec.name))),
        false => Ok(HeaderRule { name: header_name(&spec.name)?, values: boxed(&spec.values) }),
    };
    Ok(Principal {
        client_cidrs: spec.client_cidrs.iter().map(range).collect::<Result<_, _>>()?,
        jwt: spec.jwt.as_ref().map(|spec| claims(&format!("{field}.jwt"), spec, tokens)).transpose()?,
        headers: spec.headers.iter().map(header).collect::<Result<_, _>>()?,
        locations: locations.iter().enumerate().map(location).collect::<Result<_, _>>()?,
    })
}

fn claims(field: &str, spec: &JwtPrincipal, tokens: Option<&JwtAuth>) -> Result<JwtRule, Problem> {
    let provider = tokens.and_then(|tokens| tokens.providers.iter().find(|provider| *provider.name == *spec.provider));
    let Some(provider) = provider else {
        return Err(invalid(&format!("{field}.provider: the policy's jwt has no provider {:?}", spec.provider)));
    };
    if spec.claims.is_empty() && spec.scopes.is_empty() {
        return Err(invalid(&format!("{field}: set at least one of claims and scopes")));
    }
    let claims = spec.claims.iter().map(|spec| claim(field, spec)).collect::<Result<_, _>>()?;
    Ok(JwtRule { provider: provider.name.clone(), claims, scopes: boxed(&spec.scopes) })
}

fn claim(field: &str, spec: &JwtClaim) -> Result<ClaimRule, Problem> {
    if spec.values.is_empty() {
        return Err(invalid(&format!("{field}.claims: {}: write at least one value", spec.name)));
    }
    let path =
        jwt::path(&spec.name).ok_or_else(|| invalid(&format!("{field}.claims: the name {:?} has an empty part", spec.name)))?;
    let values = boxed(&spec.values);
    let value = match spec.value_type {
        JwtClaimType::String => ClaimValue::Text(values),
        JwtClaimType::StringArray => ClaimValue::List(values),
    };
    Ok(ClaimRule { path, value })
}

fn operation(field: &str, spec: &AuthorizationOperation) -> Result<Operation, Problem> {
    if spec.methods.is_empty() && spec.path.is_none() {
        return Err(invalid(&format!("{field}: set at least one of methods and path")));
    }
    let method = |name: &String| {
        Method::from_bytes(name.as_bytes()).map_err(|_| invalid(&format!("{field}.methods: {name:?} is no method")))
    };
    let path = spec.path.as_ref().map(|spec| {
        let field = format!("{field}.path.value");
        let value = match spec.kind {
            AuthorizationPathType::Exact => PathValue::Exact(values::path(&field, &spec.value)?),
            AuthorizationPathType::PathPrefix => PathValue::Prefix(values::path(&field, &spec.value)?),
            AuthorizationPathType::RegularExpression => {
                PathValue::Regex(regexes::anchored(&field, &spec.value).map_err(|problem| invalid(&problem.message))?)
            }
        };
        if !matches!(value, PathValue::Regex(_)) && !spec.value.starts_with('/') {
            return Err(invalid(&format!("{field}: {:?} has to begin with a slash", spec.value)));
        }
        Ok(PathRule { value, is_inverted: spec.invert.unwrap_or(false) })
    });
    Ok(Operation { methods: spec.methods.iter().map(method).collect::<Result<_, _>>()?, path: path.transpose()? })
}

fn boxed(texts: &[String]) -> Vec<Box<str>> {
    texts.iter().map(|text| text.as_str().into()).collect()
}
