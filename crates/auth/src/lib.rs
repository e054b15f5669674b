//! Authentication and authorization: their settings, and their verdict on one request.
//!
//! Nothing here does IO, reads a clock or knows Kubernetes. The compiler makes the settings, the proxy lends a request's head and acts
//! on the [`Denial`]. Keys, passwords and tokens are in no `Debug` output and in no error.

mod algorithm;
mod api_key;
mod authorization;
mod basic;
mod cidr;
mod claim_headers;
mod claims;
mod condition;
mod cookie;
mod credential_source;
mod csrf;
mod denial;
mod expression;
mod geo;
mod jwk;
mod jws;
mod jwt;
mod jwt_error;
mod key_tag;
mod metadata;
mod new_key;
mod oidc;
mod roca;
mod token_cache;
#[cfg(test)]
mod wycheproof;

pub use api_key::{ApiKey, ApiKeyAuth, ApiKeyError, ApiKeys, SHA256_PREFIX};
pub use authorization::{
    Authorization, AuthorizationRule, ClaimRule, ClaimValue, HeaderRule, JwtRule, Operation, PathRule, PathValue, Principal,
    RequestFacts, RuleAction,
};
pub use basic::{BasicAuth, ExpensiveCheck, HtpasswdError, PasswordCheck, Users};
pub use cidr::{Cidr, CidrError};
pub use claim_headers::ClaimToHeader;
pub use claims::Claims;
pub use condition::{Attribute, Attributes, Condition, ConditionError};
pub use cookie::cookies;
pub use credential_source::{CredentialSource, query_values};
pub use csrf::{Csrf, OriginPattern};
pub use denial::Denial;
pub use expression::{Expression, ExpressionError, IntegerError, Variable};
pub use geo::{AnonymousRule, AnonymousSigns, GeoLocation, GeoNeeds, GeoRule};
pub use jwk::{JwkError, JwkSet, JwkSetError};
pub use jwt::{DocumentId, JwtAuth, JwtContext, JwtProvider, JwtRequirement, KeySource, Keys, TokenChecks, VerifiedTokens};
pub use jwt_error::JwtError;
pub use metadata::Metadata;
pub use new_key::{KEY_PREFIX, key_hash, new_key};
pub use oidc::{
    ClientSecret, CookieAttributes, CookieNames, DenyRedirect, DenyRedirectHeader, DenyRedirectValue, DiscoveryError, FlowEntropy,
    IdTokenError, LoggedIn, LoginId, Oidc, OidcError, OidcKeys, OidcReply, OidcRequest, OidcStep, PendingLogin, Provider,
    ProviderSettings, RedirectUrl, RedirectUrlPart, Refresh, SameSite, Session, SessionCookies, ShortSecret, StateError, Token,
    TokenRequest, TokenResponse, TokenResponseError, endpoint, has_credentials,
};
pub use token_cache::TokenCache;
