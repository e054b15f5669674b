//! SecurityPolicy: who may call.

use serde::Deserialize;

use super::{
    api_key_auth::ApiKeyAuth,
    authorization::Authorization,
    basic_auth::BasicAuth,
    csrf::Csrf,
    ext_auth::ExtAuth,
    jwt::Jwt,
    merge::{MergeType, joined_targets},
    oidc::Oidc,
};
use crate::duration::Duration;
use crate::meta::Resource;
use crate::refs::{PolicyTargetReference, TargetSelector};

/// `gateway.envoyproxy.io/v1alpha1` SecurityPolicy.
pub type SecurityPolicy = Resource<SecurityPolicySpec>;

/// `spec` of a SecurityPolicy. What it protects must fail closed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityPolicySpec {
    /// One target (deprecated in favour of `targetRefs`).
    #[serde(default)]
    pub target_ref: Option<PolicyTargetReference>,
    /// Gateways, ListenerSets, routes and their sections.
    #[serde(default)]
    pub target_refs: Vec<PolicyTargetReference>,
    /// Targets by label.
    #[serde(default)]
    pub target_selectors: Vec<TargetSelector>,
    /// How a route's policy joins its Gateway's; absent means the route's alone applies.
    #[serde(default)]
    pub merge_type: Option<MergeType>,
    /// Cross-origin resource sharing.
    #[serde(default)]
    pub cors: Option<SecurityCors>,
    /// Keys.
    #[serde(default)]
    pub api_key_auth: Option<ApiKeyAuth>,
    /// Users and passwords.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// JSON Web Tokens.
    #[serde(default)]
    pub jwt: Option<Jwt>,
    /// OpenID Connect.
    #[serde(default)]
    pub oidc: Option<Oidc>,
    /// Another server's permission.
    #[serde(default)]
    pub ext_auth: Option<ExtAuth>,
    /// Rules over addresses, claims and headers.
    #[serde(default)]
    pub authorization: Option<Authorization>,
    /// Cross-site request forgery.
    #[serde(default)]
    pub csrf: Option<Csrf>,
    /// Errors of a policy that did not decode: only its targets are known, and are closed.
    #[serde(skip)]
    pub undecodable: Option<String>,
}

impl SecurityPolicySpec {
    /// `targetRef` and `targetRefs` together, without repetitions.
    pub fn targets(&self) -> Vec<PolicyTargetReference> {
        joined_targets(self.target_ref.as_ref(), &self.target_refs)
    }
}

/// Cross-origin resource sharing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityCors {
    /// Origins, with wildcards.
    #[serde(default)]
    pub allow_origins: Vec<String>,
    /// Methods.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// Headers of requests.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Headers of responses.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// How long a preflight's answer may be cached.
    #[serde(default)]
    pub max_age: Option<Duration>,
    /// Whether credentials are allowed.
    #[serde(default)]
    pub allow_credentials: Option<bool>,
}
