//! CORS, of HTTPRoutes and of SecurityPolicies.

use http::{HeaderName, Method};

use crate::status::Problem;
use pailou_api::{envoy::security_policy::SecurityCors, http_filter::Cors as RouteCors};
use pailou_snapshot::{Cors, CorsOrigin};

/// The CORS filter of a route.
pub(crate) fn of_route(spec: &RouteCors) -> Result<Cors, Problem> {
    let headers: Vec<&str> = spec.allow_headers.iter().map(|name| name.as_str()).collect();
    let expose: Vec<&str> = spec.expose_headers.iter().map(|name| name.as_str()).collect();
    let lists = Lists { origins: &spec.allow_origins, methods: &spec.allow_methods, headers: &headers, expose: &expose };
    lists.cors(spec.allow_credentials.unwrap_or(false), spec.max_age)
}

/// The `cors` of a SecurityPolicy.
pub(crate) fn of_policy(spec: &SecurityCors) -> Result<Cors, Problem> {
    let headers: Vec<&str> = spec.allow_headers.iter().map(String::as_str).collect();
    let expose: Vec<&str> = spec.expose_headers.iter().map(String::as_str).collect();
    let lists = Lists { origins: &spec.allow_origins, methods: &spec.allow_methods, headers: &headers, expose: &expose };
    let max_age = spec.max_age.map_or(DEFAULT_MAX_AGE, |it| u32::try_from(it.as_std().as_secs()).unwrap_or(u32::MAX));
    lists.cors(spec.allow_credentials.unwrap_or(false), max_age)
}

/// Seconds that a preflight's answer holds unless configured (the Fetch standard).
const DEFAULT_MAX_AGE: u32 = 5;

struct Lists<'a> {
    origins: &'a [String],
    methods: &'a [String],
    headers: &'a [&'a str],
    expose: &'a [&'a str],
}

impl Lists<'_> {
    fn cors(&self, allow_credentials: bool, max_age: u32) -> Result<Cors, Problem> {
        let method = |name: &&String| {
            Method::from_bytes(name.as_bytes())
                .map_err(|_| Problem::accepted("UnsupportedValue", format!("cors.allowMethods: {name} is no method")))
        };
        let header = |name: &&str| {
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| Problem::accepted("UnsupportedValue", format!("cors.allowHeaders: {name} is no header name")))
        };
        Ok(Cors {
            allow_origins: self.origins.iter().map(|text| origin(text)).collect(),
            allow_credentials,
            allow_methods: self.methods.iter().filter(|name| *name != "*").map(|name| method(&name)).collect::<Result<_, _>>()?,
            any_method: self.methods.iter().any(|name| name == "*"),
            allow_headers: self.headers.iter().filter(|name| **name != "*").map(header).collect::<Result<_, _>>()?,
            any_header: self.headers.contains(&"*"),
            expose_headers: self.expose.iter().map(|name| (*name).into()).collect(),
            max_age,
        })
    }
}

fn origin(text: &str) -> CorsOrigin {
    let text = text.to_ascii_lowercase();
    match text.split_once('*') {
        Some(("", "")) => CorsOrigin::Any,
        Some((prefix, suffix)) => CorsOrigin::Wildcard { prefix: prefix.into(), suffix: suffix.into() },
        None => CorsOrigin::Exact(text.into()),
    }
}
