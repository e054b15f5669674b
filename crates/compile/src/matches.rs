//! Matches of rules.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderName, Method};

use crate::status::Problem;
use pailou_api::{
    grpc_route::{GrpcMethodMatch, GrpcRouteMatch},
    http_match::{HeaderMatch as SpecHeader, HttpRouteMatch, MatchType, PathMatch as SpecPath},
};
use pailou_snapshot::{
    Conditions, HeaderMatch, NumberedMatch, PathMatch, QueryMatch, RouteMatch, Rule, ValueMatch, normal_pattern,
};

use super::{headers::header_name, regexes};

/// The headers that stand for the model in the body: ours, and Envoy AI Gateway's for the same.
const BODY_MODEL_HEADERS: [&str; 2] = ["x-gateway-model-name", "x-ai-eg-model"];
/// The header that the gateway makes of the model's base.
const BASE_MODEL_HEADER: &str = "x-gateway-base-model-name";

/// A match without the rule that it leads to.
#[derive(Clone, Debug)]
pub(crate) struct Match {
    pub(crate) path: PathMatch,
    conditions: Option<Arc<Conditions>>,
}

impl Match {
    /// The match with conditions on cookies beside it.
    pub(crate) fn with_cookies(&self, cookies: &[QueryMatch]) -> Self {
        let conditions = self.conditions.as_deref().cloned().unwrap_or_default();
        Self { path: self.path.clone(), conditions: Conditions { cookies: cookies.to_vec(), ..conditions }.shared() }
    }

    /// The match as its rule has it, to be numbered.
    pub(crate) fn numbered(&self) -> NumberedMatch {
        (self.path.clone(), self.conditions.clone())
    }

    /// The match as an entry of a route table.
    pub(crate) fn entry(&self, rule: &Arc<Rule>) -> RouteMatch {
        RouteMatch { path: self.path.clone(), conditions: self.conditions.clone(), rule: rule.clone() }
    }
}

/// A match of an HTTPRoute; `field` is where it stands.
pub(crate) fn http(field: &str, spec: &HttpRouteMatch) -> Result<Match, Problem> {
    let mut query: Vec<QueryMatch> = Vec::new();
    for (place, param) in spec.query_params.iter().enumerate() {
        let value = value(&format!("{field}.queryParams[{place}].value"), param.kind, &param.value)?;
        query.push(QueryMatch { name: param.name.as_str().into(), value });
    }
    let method = spec.method.map(|method| Method::from_bytes(method.as_str().as_bytes()));
    let method = method.transpose().map_err(|_| Problem::accepted("UnsupportedValue", format!("{field}.method: is no method")))?;
    with_headers(field, path(field, &spec.path)?, method, query, &spec.headers)
}

/// A match of a GRPCRoute.
pub(crate) fn grpc(field: &str, spec: &GrpcRouteMatch) -> Result<Match, Problem> {
    let path = match &spec.method {
        Some(method) => grpc_path(field, method)?,
        None => PathMatch::Prefix("".into()),
    };
    with_headers(field, path, None, Vec::new(), &spec.headers)
}

fn with_headers(
    field: &str,
    path: PathMatch,
    method: Option<Method>,
    query: Vec<QueryMatch>,
    headers: &[SpecHeader],
) -> Result<Match, Problem> {
    let mut found = Conditions { method, query, ..Conditions::default() };
    for (place, header) in headers.iter().enumerate() {
        let name: HeaderName = header_name(&header.name)?;
        let value = value(&format!("{field}.headers[{place}].value"), header.kind, &header.value)?;
        match name.as_str() {
            name if BODY_MODEL_HEADERS.contains(&name) && found.model.is_some() => {
                let message = format!("{field}.headers[{place}].name: {name} is the model again: name it in one header");
                return Err(Problem::accepted("UnsupportedValue", message));
            }
            name if BODY_MODEL_HEADERS.contains(&name) => found.model = Some(value),
            BASE_MODEL_HEADER => found.base_model = Some(value),
            _ => found.headers.push(HeaderMatch { name, value }),
        }
    }
    Ok(Match { path, conditions: found.shared() })
}

fn path(field: &str, spec: &SpecPath) -> Result<PathMatch, Problem> {
    Ok(match spec {
        SpecPath::Exact(path) => PathMatch::Exact(normal(path).into()),
        SpecPath::PathPrefix(prefix) => PathMatch::Prefix(normal(prefix.strip_suffix('/').unwrap_or(prefix)).into()),
        SpecPath::RegularExpression(pattern) => regex_path(&format!("{field}.path.value"), pattern)?,
    })
}

/// The form that requests' paths are compared in. Validation refuses what has none.
fn normal(path: &str) -> Cow<'_, str> {
    normal_pattern(path).unwrap_or(Cow::Borrowed(path))
}

fn regex_path(field: &str, pattern: &str) -> Result<PathMatch, Problem> {
    Ok(PathMatch::Regex(Arc::new(regexes::anchored(field, pattern)?)))
}

/// A condition on a value.
pub(crate) fn value(field: &str, kind: MatchType, value: &str) -> Result<ValueMatch, Problem> {
    Ok(match kind {
        MatchType::Exact => ValueMatch::Exact(value.into()),
        MatchType::RegularExpression => ValueMatch::Regex(regexes::anchored(field, value)?),
    })
}

/// gRPC's path is `/service/method`.
fn grpc_path(field: &str, spec: &GrpcMethodMatch) -> Result<PathMatch, Problem> {
    let (service, method) = (spec.service.as_deref(), spec.method.as_deref());
    let field = format!("{field}.method");
    match (spec.kind, service, method) {
        (_, None, None) => Ok(PathMatch::Prefix("".into())),
        (MatchType::Exact, Some(service), Some(method)) => Ok(PathMatch::Exact(format!("/{service}/{method}").into())),
        (MatchType::Exact, Some(service), None) => Ok(PathMatch::Prefix(format!("/{service}").into())),
        (MatchType::Exact, None, Some(method)) => regex_path(&field, &format!("/[^/]+/{}", regex::escape(method))),
        (MatchType::RegularExpression, service, method) => {
            let (service, method) = (service.unwrap_or("[^/]+"), method.unwrap_or("[^/]+"));
            regexes::part(&field, service)?;
            regexes::part(&field, method)?;
            regex_path(&field, &format!("/(?:{service})/(?:{method})"))
        }
    }
}
