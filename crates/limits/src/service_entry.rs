//! Entries of descriptors, by which a rate limit service finds a rule's counter. Source: Envoy Gateway 1.9, which names them so for Envoy.

use std::borrow::Cow;

use crate::{ClientSelector, LimitRule, Reach, RequestFacts, ValueSelector, descriptor::kept};

/// Key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Key.
    pub key: String,
    /// Value. That of a credential is a digest.
    pub value: String,
}

impl ServiceEntry {
    /// An entry whose value is its key.
    pub fn of_name(name: impl Into<String>) -> Self {
        let key = name.into();
        Self { value: key.clone(), key }
    }
}

impl LimitRule {
    /// The policy, `namespace/name`, which is the domain of rules whose targets share a counter; else `None`: their domain is the listener.
    pub fn service_domain(&self) -> Option<&str> {
        let policy = self.name.rsplit_once("/rule/").map_or(&*self.name, |(policy, _)| policy);
        (self.reach == Reach::Policy).then_some(policy)
    }

    /// The entries of a request that the rule is for, behind the first, which names the rule itself (shared) or the route.
    pub fn service_entries(&self, facts: &RequestFacts<'_>) -> Vec<ServiceEntry> {
        let rule = self.place;
        let mut entries = Vec::new();
        let mut numbers = (0_usize..).map(|number| format!("rule-{rule}-match-{number}"));
        let mut name = || numbers.next().unwrap_or_default();
        let each = || self.selectors.iter();
        for (header, selector) in each().flat_map(|it| &it.headers) {
            entries.push(selector.entry(name(), (facts.header)(header)));
        }
        if each().any(|it| !it.methods.is_empty()) {
            entries.push(ServiceEntry::of_name(format!("rule-{rule}-method")));
        }
        if each().any(|it| it.path.is_some()) {
            entries.push(ServiceEntry::of_name(format!("rule-{rule}-path")));
        }
        // Envoy Gateway keeps the last.
        if let Some(address) = each().rev().find_map(|it| it.address.as_ref()) {
            let sign = if address.is_inverted { "invert:" } else { "" };
            let key = "masked_remote_address".to_owned();
            entries.push(ServiceEntry { key, value: format!("{sign}{}", address.range) });
            if address.is_distinct {
                let value = facts.client.to_canonical().to_string();
                entries.push(ServiceEntry { key: "remote_address".to_owned(), value });
            }
        }
        for (parameter, selector) in each().flat_map(|it| &it.query) {
            entries.push(selector.entry(name(), ClientSelector::parameter(facts, parameter)));
        }
        if entries.is_empty() {
            entries.push(ServiceEntry::of_name(format!("rule-{rule}-match--1")));
        }
        entries
    }
}

impl ValueSelector {
    /// The entry of a value that the selector matches.
    fn entry(&self, key: String, value: Option<Cow<'_, [u8]>>) -> ServiceEntry {
        match (self, value) {
            (Self::Distinct { is_secret }, Some(value)) => {
                ServiceEntry { key, value: String::from_utf8_lossy(&kept(&value, *is_secret)).into_owned() }
            }
            _ => ServiceEntry::of_name(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Method};
    use pailou_auth::{PathRule, PathValue};

    use super::*;
    use crate::{AddressSelector, Cost, Window, WindowKind};

    fn rule(place: u32, reach: Reach, selectors: Vec<ClientSelector>) -> LimitRule {
        LimitRule {
            name: "ns/policy/rule/7".into(),
            id: 1,
            place,
            selectors,
            limit: 1,
            window: Window { seconds: 1, kind: WindowKind::Epoch },
            limit_from: None,
            request_cost: Cost::Number(1),
            response_cost: None,
            reach,
            is_shadow: false,
            has_headers: None,
        }
    }

    /// Entries of a request, as `key=value`; a value that is the key is left out.
    fn entries(place: u32, selectors: Vec<ClientSelector>) -> Vec<String> {
        let header = |name: &HeaderName| match name.as_str() {
            "x-user" => Some(Cow::Borrowed(&b"alice"[..])),
            "authorization" => Some(Cow::Borrowed(&b"Bearer secret"[..])),
            _ => None,
        };
        let facts = RequestFacts {
            client: [10, 1, 2, 3].into(),
            method: &Method::GET,
            path: "/v1",
            query: Some("tenant=a%20b&tenant=c"),
            header: &header,
        };
        let entries = rule(place, Reach::RouteRule, selectors).service_entries(&facts);
        let show = |it: ServiceEntry| if it.key == it.value { it.key } else { format!("{}={}", it.key, it.value) };
        entries.into_iter().map(show).collect()
    }

    fn headers(list: Vec<(&'static str, ValueSelector)>) -> ClientSelector {
        let headers = list.into_iter().map(|(name, selector)| (HeaderName::from_static(name), selector)).collect();
        ClientSelector { headers, ..ClientSelector::default() }
    }

    fn distinct() -> ValueSelector {
        ValueSelector::Distinct { is_secret: false }
    }

    fn range(text: &str, is_inverted: bool, is_distinct: bool) -> ClientSelector {
        let address = Some(AddressSelector { range: text.parse().unwrap(), is_inverted, is_distinct });
        ClientSelector { address, ..ClientSelector::default() }
    }

    #[test]
    fn a_rule_without_selectors_has_one_entry() {
        assert_eq!(entries(2, Vec::new()), ["rule-2-match--1"]);
    }

    #[test]
    fn header_matches_are_numbered_through_all_selectors_and_query_matches_go_on() {
        let exact = |value: &str, is_inverted| ValueSelector::Exact(value.into(), is_inverted);
        let mut first = headers(vec![("x-user", distinct()), ("x-org", exact("acme", false))]);
        first.query = vec![("tenant".into(), distinct()), ("other".into(), exact("x", true))];
        let second = headers(vec![("x-tier", exact("gold", true))]);
        assert_eq!(
            entries(0, vec![first, second]),
            ["rule-0-match-0=alice", "rule-0-match-1", "rule-0-match-2", "rule-0-match-3=a b", "rule-0-match-4"]
        );
    }

    #[test]
    fn entries_come_in_envoy_gateway_s_order() {
        let mut all = headers(vec![("x-user", distinct())]);
        all.methods = vec![(Method::GET, false), (Method::POST, false)];
        all.path = Some(PathRule { value: PathValue::Prefix("/v1".into()), is_inverted: false });
        all.address = range("10.1.9.9/16", false, true).address;
        all.query = vec![("tenant".into(), distinct())];
        assert_eq!(
            entries(1, vec![all]),
            [
                "rule-1-match-0=alice",
                "rule-1-method",
                "rule-1-path",
                "masked_remote_address=10.1.0.0/16",
                "remote_address=10.1.2.3",
                "rule-1-match-1=a b"
            ]
        );
    }

    #[test]
    fn ranges_have_a_counter_or_one_for_each_address_and_may_be_inverted() {
        assert_eq!(entries(0, vec![range("10.0.0.0/8", false, false)]), ["masked_remote_address=10.0.0.0/8"]);
        assert_eq!(entries(0, vec![range("192.168.0.0/16", true, false)]), ["masked_remote_address=invert:192.168.0.0/16"]);
        assert_eq!(
            entries(0, vec![range("192.168.0.0/16", true, true)]),
            ["masked_remote_address=invert:192.168.0.0/16", "remote_address=10.1.2.3"]
        );
        assert_eq!(entries(0, vec![range("2001:db8::1/32", true, false)]), ["masked_remote_address=invert:2001:db8::/32"]);
    }

    #[test]
    fn no_credential_is_sent() {
        let secret = headers(vec![("authorization", ValueSelector::Distinct { is_secret: true })]);
        let sent = entries(0, vec![secret]).remove(0);
        assert!(sent.starts_with("rule-0-match-0=sha256:") && !sent.contains("secret"), "{sent}");
    }

    #[test]
    fn the_domain_of_a_shared_rule_is_its_policy() {
        assert_eq!(rule(0, Reach::Policy, Vec::new()).service_domain(), Some("ns/policy"));
        assert_eq!(rule(0, Reach::RouteRule, Vec::new()).service_domain(), None);
    }
}
