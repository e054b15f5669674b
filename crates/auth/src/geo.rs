//! Places of addresses. Source: Envoy Gateway's SecurityPolicy `authorization.rules[].principal.clientIPGeoLocations`.

use std::ops::BitOrAssign;

/// Facts that databases know of an address. Texts are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeoLocation {
    /// Country, ISO 3166-1.
    pub country: Option<Box<str>>,
    /// Region, by the second part of ISO 3166-2.
    pub region: Option<Box<str>>,
    /// City, in English.
    pub city: Option<Box<str>>,
    /// Number of the autonomous system.
    pub asn: Option<u32>,
    /// Internet service provider.
    pub isp: Option<Box<str>>,
    /// Signs of a client that hides. A database names only those that hold: the others are false.
    pub anonymous: AnonymousSigns,
}

/// Signs of a client that hides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnonymousSigns {
    /// Any of them.
    pub is_anonymous: bool,
    /// A virtual private network.
    pub is_vpn: bool,
    /// A hosting provider.
    pub is_hosting: bool,
    /// An exit of Tor.
    pub is_tor: bool,
    /// A public proxy.
    pub is_proxy: bool,
}

/// A place. All that is set has to match. Texts are in lower case: they are compared without regard to case, as Envoy Gateway has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeoRule {
    /// Country.
    pub country: Option<Box<str>>,
    /// Region.
    pub region: Option<Box<str>>,
    /// City.
    pub city: Option<Box<str>>,
    /// Autonomous system.
    pub asn: Option<u32>,
    /// Internet service provider.
    pub isp: Option<Box<str>>,
    /// Signs that have to hold, or not to hold.
    pub anonymous: Option<AnonymousRule>,
}

/// Signs of a client that hides, as a rule wants them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnonymousRule {
    /// Any of them.
    pub is_anonymous: Option<bool>,
    /// A virtual private network.
    pub is_vpn: Option<bool>,
    /// A hosting provider.
    pub is_hosting: Option<bool>,
    /// An exit of Tor.
    pub is_tor: Option<bool>,
    /// A public proxy.
    pub is_proxy: Option<bool>,
}

/// Facts that rules look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GeoNeeds {
    /// The country.
    pub country: bool,
    /// Region or city.
    pub city: bool,
    /// The autonomous system.
    pub asn: bool,
    /// The internet service provider.
    pub isp: bool,
    /// Signs of a client that hides.
    pub anonymous: bool,
}

impl GeoNeeds {
    /// Whether there are any.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

impl GeoNeeds {
    /// Whether these are all that others are.
    pub fn covers(self, other: Self) -> bool {
        let mut both = self;
        both |= other;
        both == self
    }
}

impl BitOrAssign for GeoNeeds {
    fn bitor_assign(&mut self, other: Self) {
        self.country |= other.country;
        self.city |= other.city;
        self.asn |= other.asn;
        self.isp |= other.isp;
        self.anonymous |= other.anonymous;
    }
}

impl GeoRule {
    /// Facts that it looks at.
    pub fn needs(&self) -> GeoNeeds {
        GeoNeeds {
            country: self.country.is_some(),
            city: self.region.is_some() || self.city.is_some(),
            asn: self.asn.is_some(),
            isp: self.isp.is_some(),
            anonymous: self.anonymous.is_some(),
        }
    }

    pub(crate) fn matches(&self, location: &GeoLocation) -> bool {
        let text = |wanted: &Option<Box<str>>, known: &Option<Box<str>>| {
            wanted.as_ref().is_none_or(|wanted| known.as_ref() == Some(wanted))
        };
        text(&self.country, &location.country)
            && text(&self.region, &location.region)
            && text(&self.city, &location.city)
            && text(&self.isp, &location.isp)
            && self.asn.is_none_or(|asn| location.asn == Some(asn))
            && self.anonymous.is_none_or(|rule| rule.matches(location.anonymous))
    }
}

impl AnonymousRule {
    fn matches(self, signs: AnonymousSigns) -> bool {
        [
            (self.is_anonymous, signs.is_anonymous),
            (self.is_vpn, signs.is_vpn),
            (self.is_hosting, signs.is_hosting),
            (self.is_tor, signs.is_tor),
            (self.is_proxy, signs.is_proxy),
        ]
        .into_iter()
        .all(|(wanted, holds)| wanted.is_none_or(|wanted| wanted == holds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_rule_sets_has_to_match() {
        let text = |text: &str| Some(Box::from(text));
        let signs = AnonymousSigns { is_anonymous: true, is_vpn: true, ..AnonymousSigns::default() };
        let berlin = GeoLocation {
            country: text("de"),
            region: text("be"),
            city: text("köpenick"),
            asn: Some(64500),
            isp: text("example net"),
            anonymous: signs,
        };
        let vpn = |is_vpn| Some(AnonymousRule { is_vpn: Some(is_vpn), ..AnonymousRule::default() });
        for (rule, matches) in [
            (GeoRule { country: text("de"), ..GeoRule::default() }, true),
            (GeoRule { country: text("de"), region: text("by"), ..GeoRule::default() }, false),
            (GeoRule { city: text("köpenick"), asn: Some(64500), ..GeoRule::default() }, true),
            (GeoRule { asn: Some(64501), ..GeoRule::default() }, false),
            (GeoRule { isp: text("example net"), anonymous: vpn(true), ..GeoRule::default() }, true),
            (GeoRule { anonymous: vpn(false), ..GeoRule::default() }, false),
        ] {
            assert_eq!(rule.matches(&berlin), matches, "{rule:?}");
        }
        let nowhere = GeoLocation::default();
        assert!(!GeoRule { country: text("de"), ..GeoRule::default() }.matches(&nowhere));
        assert!(GeoRule { anonymous: vpn(false), ..GeoRule::default() }.matches(&nowhere));
    }

    #[test]
    fn needs_add_up() {
        let mut needs = GeoRule { region: Some("BE".into()), ..GeoRule::default() }.needs();
        assert!(needs.any() && needs.city && !needs.country);
        needs |= GeoRule { asn: Some(1), ..GeoRule::default() }.needs();
        assert_eq!(needs, GeoNeeds { city: true, asn: true, ..GeoNeeds::default() });
        assert!(!GeoNeeds::default().any());
        let city = GeoNeeds { city: true, ..GeoNeeds::default() };
        assert!(needs.covers(city) && needs.covers(GeoNeeds::default()) && !city.covers(needs));
    }
}
