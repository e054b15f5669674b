//! Rules that allow or deny. Source: Envoy Gateway's SecurityPolicy `authorization`.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use http::{HeaderName, Method};
use regex::Regex;

use crate::{Attributes, Cidr, Claims, Condition, Denial, GeoLocation, GeoNeeds, GeoRule, claims::texts};

/// Envoy's text for a request that no rule allows.
const DENIED: &str = "RBAC: access denied";

/// Rules in order. The first that matches decides.
#[derive(Clone, Debug)]
pub struct Authorization {
    /// Rules.
    pub rules: Vec<AuthorizationRule>,
    /// Action where none matches.
    pub default_action: RuleAction,
}

/// Allow or deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// The request passes.
    Allow,
    /// The request is answered 403.
    Deny,
}

/// A rule. All its parts have to match.
#[derive(Clone, Debug)]
pub struct AuthorizationRule {
    /// Action of a request that matches.
    pub action: RuleAction,
    /// Callers that match.
    pub principal: Principal,
    /// The operation; any if absent.
    pub operation: Option<Operation>,
    /// A condition on the request's attributes.
    pub condition: Option<Arc<Condition>>,
}

/// Callers. All parts have to match; an empty list matches all.
#[derive(Clone, Debug, Default)]
pub struct Principal {
    /// Ranges of the client's address; one of them.
    pub client_cidrs: Vec<Cidr>,
    /// Claims.
    pub jwt: Option<JwtRule>,
    /// Headers, all of them.
    pub headers: Vec<HeaderRule>,
    /// Places of the client's address; one of them.
    pub locations: Vec<GeoRule>,
}

/// Claims of a provider's token.
#[derive(Clone, Debug)]
pub struct JwtRule {
    /// The provider.
    pub provider: Arc<str>,
    /// Claims, all of them.
    pub claims: Vec<ClaimRule>,
    /// Scopes, all of them.
    pub scopes: Vec<Box<str>>,
}

/// A claim with one of several values.
#[derive(Clone, Debug)]
pub struct ClaimRule {
    /// Path of members.
    pub path: Vec<Box<str>>,
    /// Values.
    pub value: ClaimValue,
}

/// Values of a claim.
#[derive(Clone, Debug)]
pub enum ClaimValue {
    /// The claim is one of these texts.
    Text(Vec<Box<str>>),
    /// The claim is a list that has one of these texts.
    List(Vec<Box<str>>),
}

/// A header with one of several values.
#[derive(Clone, Debug)]
pub struct HeaderRule {
    /// Name.
    pub name: HeaderName,
    /// Values, compared exactly.
    pub values: Vec<Box<str>>,
}

/// Method and path. Both have to match.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    /// Methods, one of them; empty matches all.
    pub methods: Vec<Method>,
    /// The path without its query.
    pub path: Option<PathRule>,
}

/// A path, or all others.
#[derive(Clone, Debug)]
pub struct PathRule {
    /// The path.
    pub value: PathValue,
    /// All other paths match instead.
    pub is_inverted: bool,
}

/// How a path is compared.
#[derive(Clone, Debug)]
pub enum PathValue {
    /// As a whole.
    Exact(Box<str>),
    /// By segments: `/a` takes `/a` and `/a/b`, not `/ab`.
    Prefix(Box<str>),
    /// By an expression that has to match the whole path.
    Regex(Regex),
}

/// A request, as rules see it.
pub struct RequestFacts<'a> {
    /// The client's address (ClientTrafficPolicy `clientIPDetection`).
    pub client: IpAddr,
    /// Method.
    pub method: &'a Method,
    /// Path without query.
    pub path: &'a str,
    /// The value of a header; lines of one name joined with a comma.
    pub header: &'a dyn Fn(&HeaderName) -> Option<Cow<'a, [u8]>>,
    /// Claims of a provider's valid tokens.
    pub claims: &'a [(Arc<str>, Arc<Claims>)],
    /// Attributes, for conditions.
    pub attributes: &'a dyn Attributes,
    /// Place of the client's address; `None` where no rule looks at it.
    pub location: Option<Arc<GeoLocation>>,
}

impl Authorization {
    /// Judges a request.
    ///
    /// # Errors
    /// The response to a request that may not pass.
    pub fn authorize(&self, facts: &RequestFacts<'_>) -> Result<(), Denial> {
        let rule = self.rules.iter().find(|rule| rule.matches(facts));
        match rule.map_or(self.default_action, |rule| rule.action) {
            RuleAction::Allow => Ok(()),
            RuleAction::Deny => Err(Denial::forbidden(DENIED)),
        }
    }

    /// Judges a request by the rules that look at its client's address alone, as far as they decide; `None` where a rule before them may
    /// match, or none of them does.
    pub fn authorize_address(&self, client: IpAddr, location: Option<&GeoLocation>) -> Option<Result<(), Denial>> {
        let rule = self.rules.iter().find(|rule| rule.principal.is_from(client, location))?;
        match (rule.is_by_address(), rule.action) {
            (false, _) => None,
            (true, RuleAction::Allow) => Some(Ok(())),
            (true, RuleAction::Deny) => Some(Err(Denial::forbidden(DENIED))),
        }
    }

    /// Whether the rules look at nothing but addresses, so that they can judge connections.
    pub fn is_for_connections(&self) -> bool {
        self.rules.iter().all(|rule| rule.is_by_address() && rule.principal.locations.is_empty())
    }

    /// Whether rules for connections let a client through.
    pub fn admits(&self, client: IpAddr) -> bool {
        let rule = self.rules.iter().find(|rule| rule.principal.client_cidrs.iter().any(|range| range.contains(client)));
        rule.map_or(self.default_action, |rule| rule.action) == RuleAction::Allow
    }

    /// Facts of an address's place that rules look at.
    pub fn geo_needs(&self) -> GeoNeeds {
        let mut needs = GeoNeeds::default();
        self.rules.iter().flat_map(|rule| &rule.principal.locations).for_each(|rule| needs |= rule.needs());
        needs
    }

    /// Whether a rule may look at a header of this name.
    pub fn names_header(&self, name: &str) -> bool {
        self.rules.iter().any(|rule| {
            rule.principal.headers.iter().any(|header| header.name == name)
                || rule.condition.as_ref().is_some_and(|condition| condition.names(name))
        })
    }
}

impl AuthorizationRule {
    /// Whether the rule looks at the client's address alone.
    fn is_by_address(&self) -> bool {
        let Principal { client_cidrs: _, jwt, headers, locations: _ } = &self.principal;
        jwt.is_none() && headers.is_empty() && self.operation.is_none() && self.condition.is_none()
    }

    fn matches(&self, facts: &RequestFacts<'_>) -> bool {
        self.operation.as_ref().is_none_or(|operation| operation.matches(facts))
            && self.principal.matches(facts)
            && self.condition.as_ref().is_none_or(|condition| condition.holds(facts.attributes))
    }
}

impl Principal {
    fn matches(&self, facts: &RequestFacts<'_>) -> bool {
        self.is_from(facts.client, facts.location.as_deref())
            && self.headers.iter().all(|rule| rule.matches(facts))
            && self.jwt.as_ref().is_none_or(|rule| rule.matches(facts))
    }

    /// Whether the parts that look at the client's address match.
    fn is_from(&self, client: IpAddr, location: Option<&GeoLocation>) -> bool {
        (self.client_cidrs.is_empty() || self.client_cidrs.iter().any(|range| range.contains(client))) && self.is_at(location)
    }

    fn is_at(&self, location: Option<&GeoLocation>) -> bool {
        self.locations.is_empty() || location.is_some_and(|location| self.locations.iter().any(|rule| rule.matches(location)))
    }
}

impl HeaderRule {
    fn matches(&self, facts: &RequestFacts<'_>) -> bool {
        (facts.header)(&self.name).is_some_and(|value| self.values.iter().any(|own| own.as_bytes() == &*value))
    }
}

impl JwtRule {
    fn matches(&self, facts: &RequestFacts<'_>) -> bool {
        let tokens = facts.claims.iter().filter(|(provider, _)| *provider == self.provider);
        tokens.map(|(_, claims)| claims).any(|claims| {
            self.claims.iter().all(|rule| rule.matches(claims)) && self.scopes.iter().all(|scope| claims.has_scope(scope))
        })
    }
}

impl ClaimRule {
    fn matches(&self, claims: &Claims) -> bool {
        let Some(value) = claims.find(&self.path) else { return false };
        let is_one = |text: &str, values: &[Box<str>]| values.iter().any(|own| **own == *text);
        match &self.value {
            ClaimValue::Text(values) => value.as_str().is_some_and(|text| is_one(text, values)),
            ClaimValue::List(values) => value.is_array() && texts(value).any(|text| is_one(text, values)),
        }
    }
}

impl Operation {
    fn matches(&self, facts: &RequestFacts<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(facts.method))
            && self.path.as_ref().is_none_or(|path| path.matches(facts.path))
    }
}

impl PathRule {
    /// Whether a path, without its query, is meant.
    pub fn matches(&self, path: &str) -> bool {
        self.value.matches(path) != self.is_inverted
    }
}

impl PathValue {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => {
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A request without attributes.
    struct Nothing;

    impl Attributes for Nothing {
        fn attribute(&self, _: &str) -> Option<crate::Attribute> {
            None
        }

        fn headers(&self) -> Vec<(String, String)> {
            Vec::new()
        }

        fn metadata(&self) -> Value {
            Value::Null
        }
    }

    fn rule(action: RuleAction, principal: Principal) -> AuthorizationRule {
        AuthorizationRule { action, principal, operation: None, condition: None }
    }

    fn is_allowed(authorization: &Authorization, path: &str, claims: Value) -> bool {
        let Value::Object(claims) = claims else { panic!("no object") };
        let claims = [("idp".into(), Arc::new(Claims::new(claims).unwrap()))];
        let header = |name: &HeaderName| (name == "x-team").then_some(Cow::Borrowed(&b"red"[..]));
        let facts = RequestFacts {
            client: IpAddr::from([10, 0, 0, 1]),
            method: &Method::POST,
            path,
            header: &header,
            claims: &claims,
            attributes: &Nothing,
            location: None,
        };
        authorization.authorize(&facts).is_ok()
    }

    #[test]
    fn without_a_rule_the_default_decides() {
        for (default_action, expected) in [(RuleAction::Deny, false), (RuleAction::Allow, true)] {
            let authorization = Authorization { rules: Vec::new(), default_action };
            assert_eq!(is_allowed(&authorization, "/", json!({})), expected);
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let from = |range: &str| Principal { client_cidrs: vec![range.parse().unwrap()], ..Principal::default() };
        let rules = vec![
            rule(RuleAction::Allow, from("192.168.0.0/16")),
            rule(RuleAction::Deny, from("10.0.0.1/32")),
            rule(RuleAction::Allow, from("10.0.0.0/8")),
        ];
        let authorization = Authorization { rules, default_action: RuleAction::Allow };
        assert!(!is_allowed(&authorization, "/", json!({})));
    }

    #[test]
    fn addresses_decide_alone_where_no_rule_before_them_may_match() {
        let from = |range: &str| Principal { client_cidrs: vec![range.parse().unwrap()], ..Principal::default() };
        let team = HeaderRule { name: HeaderName::from_static("x-team"), values: vec!["red".into()] };
        let rules = vec![
            rule(RuleAction::Deny, from("10.1.0.0/16")),
            rule(RuleAction::Allow, Principal { headers: vec![team], ..from("10.2.0.0/16") }),
            rule(RuleAction::Deny, from("10.2.0.0/15")),
            rule(RuleAction::Allow, from("10.0.0.0/8")),
        ];
        let authorization = Authorization { rules, default_action: RuleAction::Allow };
        let judged = |address: [u8; 4]| authorization.authorize_address(address.into(), None).map(|judged| judged.is_ok());
        assert_eq!(judged([10, 1, 0, 1]), Some(false));
        assert_eq!(judged([10, 2, 0, 1]), None, "it depends on the header");
        assert_eq!(judged([10, 3, 0, 1]), Some(false));
        assert_eq!(judged([10, 4, 0, 1]), Some(true));
        assert_eq!(judged([11, 0, 0, 1]), None, "no rule matches");
    }

    #[test]
    fn all_parts_of_a_principal_have_to_match() {
        let principal = Principal {
            client_cidrs: vec!["192.168.0.0/16".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
            jwt: Some(JwtRule {
                provider: "idp".into(),
                claims: vec![
                    ClaimRule { path: vec!["sub".into()], value: ClaimValue::Text(vec!["x".into(), "me".into()]) },
                    ClaimRule { path: vec!["realm".into(), "roles".into()], value: ClaimValue::List(vec!["dev".into()]) },
                ],
                scopes: vec!["read".into()],
            }),
            headers: vec![HeaderRule { name: HeaderName::from_static("x-team"), values: vec!["blue".into(), "red".into()] }],
            locations: Vec::new(),
        };
        let authorization = Authorization { rules: vec![rule(RuleAction::Allow, principal)], default_action: RuleAction::Deny };
        assert!(is_allowed(&authorization, "/", json!({"sub": "me", "scope": "read write", "realm": {"roles": ["ops", "dev"]}})));
        for wrong in [
            json!({"sub": "you", "scope": "read", "realm": {"roles": ["dev"]}}),
            json!({"sub": "me", "scope": "reader", "realm": {"roles": ["dev"]}}),
            json!({"sub": "me", "scope": "read", "realm": {"roles": "dev"}}),
            json!({"sub": "me", "scope": "read", "realm": {"roles": {"dev": true}}}),
            json!({}),
        ] {
            assert!(!is_allowed(&authorization, "/", wrong.clone()), "{wrong}");
        }
    }

    #[test]
    fn paths_are_compared_by_segments_and_may_be_inverted() {
        let allow = |value: PathValue, is_inverted| Authorization {
            rules: vec![AuthorizationRule {
                operation: Some(Operation { methods: vec![Method::POST], path: Some(PathRule { value, is_inverted }) }),
                ..rule(RuleAction::Allow, Principal::default())
            }],
            default_action: RuleAction::Deny,
        };
        let prefix = allow(PathValue::Prefix("/v1/".into()), false);
        for (path, expected) in [("/v1", true), ("/v1/x", true), ("/v1x", false), ("/", false)] {
            assert_eq!(is_allowed(&prefix, path, json!({})), expected, "{path}");
        }
        let regex = allow(PathValue::Regex(Regex::new("^(?:/a.*)$").unwrap()), true);
        assert!(is_allowed(&regex, "/b", json!({})) && !is_allowed(&regex, "/ab", json!({})));
        let exact = allow(PathValue::Exact("/v1".into()), false);
        assert!(is_allowed(&exact, "/v1", json!({})) && !is_allowed(&exact, "/v1/", json!({})));
    }
}
