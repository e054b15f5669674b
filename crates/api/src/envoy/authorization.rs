//! SecurityPolicy `authorization`.

use serde::Deserialize;

/// Rules that allow or deny.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Authorization {
    /// Rules; the first that matches decides.
    #[serde(default)]
    pub rules: Vec<AuthorizationRule>,
    /// Action where none matches; `Deny` by default.
    #[serde(default)]
    pub default_action: Option<AuthorizationAction>,
}

/// Action of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum AuthorizationAction {
    /// The request passes.
    Allow,
    /// The request is answered 403.
    Deny,
}

/// A rule; all its parts have to match.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuthorizationRule {
    /// Name, for those who read it.
    #[serde(default)]
    pub name: Option<String>,
    /// Action.
    pub action: AuthorizationAction,
    /// Operations.
    #[serde(default)]
    pub operation: Option<AuthorizationOperation>,
    /// Callers. It or `cel` is set.
    #[serde(default)]
    pub principal: Option<AuthorizationPrincipal>,
    /// Expression.
    #[serde(default)]
    pub cel: Option<String>,
}

/// Operations; all parts have to match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct AuthorizationOperation {
    /// Methods, at most 16; one of them.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Path without its query.
    #[serde(default)]
    pub path: Option<AuthorizationPath>,
}

/// A path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuthorizationPath {
    /// How it is compared; by segments of a prefix by default.
    #[serde(default, rename = "type")]
    pub kind: AuthorizationPathType,
    /// The path.
    pub value: String,
    /// All other paths match instead.
    #[serde(default)]
    pub invert: Option<bool>,
}

/// How a path is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum AuthorizationPathType {
    /// By segments.
    #[default]
    PathPrefix,
    /// As a whole.
    Exact,
    /// By an expression over the whole path.
    RegularExpression,
}

/// Callers; all parts have to match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorizationPrincipal {
    /// Ranges of addresses; one of them.
    #[serde(default, rename = "clientCIDRs")]
    pub client_cidrs: Vec<String>,
    /// Claims of a token.
    #[serde(default)]
    pub jwt: Option<JwtPrincipal>,
    /// Headers, all of them.
    #[serde(default)]
    pub headers: Vec<AuthorizationHeader>,
    /// Places of addresses.
    #[serde(default, rename = "clientIPGeoLocations")]
    pub client_ip_geo_locations: Vec<ClientIpGeoLocation>,
}

/// A place of addresses; all that is set must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ClientIpGeoLocation {
    /// Country, two letters of ISO 3166-1.
    #[serde(default)]
    pub country: Option<String>,
    /// Region, by the second part of ISO 3166-2, at most 16 characters.
    #[serde(default)]
    pub region: Option<String>,
    /// City, at most 128 characters.
    #[serde(default)]
    pub city: Option<String>,
    /// Autonomous system, from 1.
    #[serde(default)]
    pub asn: Option<u32>,
    /// Internet service provider, at most 256 characters.
    #[serde(default)]
    pub isp: Option<String>,
    /// Signs of a client that hides.
    #[serde(default)]
    pub anonymous: Option<GeoIpAnonymousMatch>,
}

/// Signs of a client that hides; all that is set must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct GeoIpAnonymousMatch {
    /// Any of them.
    #[serde(rename = "isAnonymous", default)]
    pub is_anonymous: Option<bool>,
    /// A virtual private network.
    #[serde(rename = "isVPN", default)]
    pub is_vpn: Option<bool>,
    /// A hosting provider.
    #[serde(rename = "isHosting", default)]
    pub is_hosting: Option<bool>,
    /// An exit of Tor.
    #[serde(rename = "isTor", default)]
    pub is_tor: Option<bool>,
    /// A public proxy.
    #[serde(rename = "isProxy", default)]
    pub is_proxy: Option<bool>,
}

/// Claims of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct JwtPrincipal {
    /// Name of a provider of the policy's `jwt`.
    pub provider: String,
    /// Claims, at most 16, all of them.
    #[serde(default)]
    pub claims: Vec<JwtClaim>,
    /// Scopes, at most 16, all of them.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// A claim.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JwtClaim {
    /// Name; dots descend into objects.
    pub name: String,
    /// Type; `String` by default.
    #[serde(default)]
    pub value_type: JwtClaimType,
    /// Values, 1 to 128; one of them.
    pub values: Vec<String>,
}

/// Type of a claim.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum JwtClaimType {
    /// A text.
    #[default]
    String,
    /// A list of texts.
    StringArray,
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuthorizationHeader {
    /// Name.
    pub name: String,
    /// Values, compared exactly; one of them.
    pub values: Vec<String>,
}
