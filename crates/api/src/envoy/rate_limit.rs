//! Limits of rate.

use serde::Deserialize;

use crate::{http_match::HttpMethod, parse, validate};

/// Limits of rate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RateLimit {
    /// The one of the two, where the deprecated field is used.
    #[serde(rename = "type", default)]
    pub kind: Option<RateLimitType>,
    /// Counted over all replicas.
    #[serde(default)]
    pub global: Option<RateLimitRules>,
    /// Counted in each replica.
    #[serde(default)]
    pub local: Option<RateLimitRules>,
}

impl RateLimit {
    /// Reads limits from YAML, as an annotation has them.
    ///
    /// # Errors
    /// Why they do not decode, or break the rules of the schema, with the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let limit: Self = parse::fragment(text, "rateLimit")?;
        match validate::rate_limit(&limit).into_iter().next() {
            Some(violation) => Err(format!("{}: {}", violation.path, violation.message)),
            None => Ok(limit),
        }
    }
}

/// Place of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RateLimitType {
    /// Over all replicas.
    Global,
    /// In each replica.
    Local,
}

/// Rules: every one that matches is charged, and any may refuse.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RateLimitRules {
    /// At most 256 (global) or 16 (local).
    #[serde(default)]
    pub rules: Vec<RateLimitRule>,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitRule {
    /// Any of them, at most 8; empty means every request.
    #[serde(default)]
    pub client_selectors: Vec<ClientSelector>,
    /// How much, in what time.
    pub limit: RateLimitValue,
    /// Cost of a request; 1 when absent.
    #[serde(default)]
    pub cost: Option<RateLimitCost>,
    /// Whether the policy's targets share one count; each route has its own when absent.
    #[serde(default)]
    pub shared: Option<bool>,
    /// Whether the limit only counts and never refuses.
    #[serde(default)]
    pub shadow_mode: Option<bool>,
    /// Whether responses tell the limit.
    #[serde(rename = "xRateLimitHeaders", default)]
    pub rate_limit_headers: Option<RateLimitHeaders>,
}

/// Whether responses tell the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RateLimitHeaders {
    /// No.
    Off,
    /// In the form of the IETF's third draft.
    DraftVersion03,
}

/// Requests that a limit is for; all that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientSelector {
    /// At most 128.
    #[serde(default)]
    pub headers: Vec<RateLimitValueMatch>,
    /// Any of them.
    #[serde(default)]
    pub methods: Vec<RateLimitMethodMatch>,
    /// The path.
    #[serde(default)]
    pub path: Option<RateLimitPathMatch>,
    /// The client's address.
    #[serde(rename = "sourceCIDR", default)]
    pub source_cidr: Option<RateLimitSourceMatch>,
    /// At most 16.
    #[serde(default)]
    pub query_params: Vec<RateLimitValueMatch>,
}

/// A condition on a header or a query parameter.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RateLimitValueMatch {
    /// `Exact` by default.
    #[serde(rename = "type", default)]
    pub kind: RateLimitMatchType,
    /// The header's or parameter's name.
    pub name: String,
    /// The value or expression; none with `Distinct`.
    #[serde(default)]
    pub value: Option<String>,
    /// Whether the condition holds where the value does not match.
    #[serde(default)]
    pub invert: bool,
}

/// How a limit compares a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum RateLimitMatchType {
    /// Equal.
    #[default]
    Exact,
    /// A regular expression.
    RegularExpression,
    /// Every value has a count of its own.
    Distinct,
}

/// A condition on the method.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RateLimitMethodMatch {
    /// The method.
    pub value: HttpMethod,
    /// Whether the condition holds for every other method.
    #[serde(default)]
    pub invert: bool,
}

/// A condition on the path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RateLimitPathMatch {
    /// `PathPrefix` by default.
    #[serde(rename = "type", default)]
    pub kind: RateLimitPathType,
    /// The path, prefix or expression; `/` by default.
    #[serde(default = "root")]
    pub value: String,
    /// Whether the condition holds for every other path.
    #[serde(default)]
    pub invert: bool,
}

fn root() -> String {
    "/".to_owned()
}

/// How a limit compares a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum RateLimitPathType {
    /// Equal.
    Exact,
    /// Whole leading segments.
    #[default]
    PathPrefix,
    /// A regular expression.
    RegularExpression,
}

/// A condition on the client's address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RateLimitSourceMatch {
    /// `Exact` by default.
    #[serde(rename = "type", default)]
    pub kind: RateLimitSourceType,
    /// A network in CIDR notation.
    pub value: String,
    /// Whether the condition holds for every other address.
    #[serde(default)]
    pub invert: bool,
}

/// How a limit counts addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum RateLimitSourceType {
    /// The network has one count.
    #[default]
    Exact,
    /// Every address of the network has a count of its own.
    Distinct,
}

/// How much, in what time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitValue {
    /// Requests, or units of cost.
    pub requests: u32,
    /// The time.
    pub unit: RateLimitUnit,
    /// A limit taken from metadata instead (global only).
    #[serde(default)]
    pub from_metadata: Option<RateLimitMetadata>,
}

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[expect(missing_docs, reason = "units of time by their names")]
pub enum RateLimitUnit {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
}

/// Cost of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct RateLimitCost {
    /// Charged when the request comes; 1 when absent.
    #[serde(default)]
    pub request: Option<RateLimitCostSpecifier>,
    /// Charged when the response ends (global only).
    #[serde(default)]
    pub response: Option<RateLimitCostSpecifier>,
}

/// Source of a cost.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RateLimitCostSpecifier {
    /// The one of the two fields that counts.
    pub from: RateLimitCostFrom,
    /// A fixed cost; 0 only checks.
    #[serde(default)]
    pub number: Option<u64>,
    /// A cost found in metadata, such as the tokens of a response.
    #[serde(default)]
    pub metadata: Option<RateLimitMetadata>,
}

/// Source of a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RateLimitCostFrom {
    /// A fixed number.
    Number,
    /// Metadata of the request.
    Metadata,
}

/// A value in a request's metadata.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct RateLimitMetadata {
    /// Namespace of the metadata, named after its writer.
    pub namespace: String,
    /// Under which name.
    pub key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_an_annotation_are_read_and_wrong_ones_name_the_field() {
        let text = "global:\n  rules:\n  - limit: {requests: 5, unit: Minute}\n";
        let limit = RateLimit::parse(text).unwrap();
        assert_eq!(limit.global.unwrap().rules[0].limit.requests, 5);
        let error = |text: &str| RateLimit::parse(text).unwrap_err();
        assert!(error(&text.replace("Minute", "Fortnight")).contains("rateLimit.global.rules[0].limit.unit"));
        assert!(error(&text.replace("limit:", "limits:")).contains("rateLimit.global.rules[0]"));
        assert!(
            error(&text.replace("unit", "burst: 2, unit"))
                .contains("rateLimit.global.rules[0].limit.burst: there is no such field")
        );
        let costs = text.replace("  - limit", "  - cost: {request: {from: Number}}\n    limit");
        assert!(error(&costs).contains("rateLimit.global.rules[0].cost.request: needs exactly one"), "{}", error(&costs));
    }
}
