//! `clientIPGeoLocations` of a SecurityPolicy's rules, and the databases that they need.

use pailou_api::envoy::authorization::{ClientIpGeoLocation, GeoIpAnonymousMatch};
use pailou_auth::{AnonymousRule, GeoNeeds, GeoRule};
use pailou_snapshot::GeoSources;

use crate::status::Problem;

use super::super::values::invalid;

/// Reads a place.
///
/// # Errors
/// The first value that Envoy Gateway's schema refuses.
pub(super) fn read(field: &str, spec: &ClientIpGeoLocation) -> Result<GeoRule, Problem> {
    let ClientIpGeoLocation { country, region, city, asn, isp, anonymous } = spec;
    if *spec == ClientIpGeoLocation::default() {
        return Err(invalid(&format!("{field}: set at least one of country, region, city, asn, isp and anonymous")));
    }
    let wrong = |name: &str, reason: &str| Err(invalid(&format!("{field}.{name}: {reason}")));
    if country.as_ref().is_some_and(|it| it.len() != 2 || !it.bytes().all(|byte| byte.is_ascii_alphabetic())) {
        return wrong("country", "write two letters, such as DE");
    }
    let is_region = |it: &str| (1..=16).contains(&it.len()) && it.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if region.as_ref().is_some_and(|it| !is_region(it)) {
        return wrong("region", "write 1 to 16 letters, digits and hyphens");
    }
    for (name, text, most) in [("city", city, 128), ("isp", isp, 256)] {
        if text.as_ref().is_some_and(|it| !(1..=most).contains(&it.chars().count())) {
            return wrong(name, &format!("write 1 to {most} characters"));
        }
    }
    if *asn == Some(0) {
        return wrong("asn", "write a number from 1");
    }
    if anonymous.as_ref().is_some_and(|it| *it == GeoIpAnonymousMatch::default()) {
        return wrong("anonymous", "set at least one of isAnonymous, isVPN, isHosting, isTor and isProxy");
    }
    let boxed = |text: &Option<String>| text.as_ref().map(|text| text.to_lowercase().into());
    Ok(GeoRule {
        country: boxed(country),
        region: boxed(region),
        city: boxed(city),
        asn: *asn,
        isp: boxed(isp),
        anonymous: anonymous.as_ref().map(|it| AnonymousRule {
            is_anonymous: it.is_anonymous,
            is_vpn: it.is_vpn,
            is_hosting: it.is_hosting,
            is_tor: it.is_tor,
            is_proxy: it.is_proxy,
        }),
    })
}

/// Why a Gateway with these databases cannot tell what rules look at; `None` if it can.
pub(super) fn missing(needs: GeoNeeds, sources: Option<&GeoSources>) -> Option<Problem> {
    if !needs.any() {
        return None;
    }
    let has = |file: Option<bool>| file.unwrap_or(false);
    let databases = [
        ("country", needs.country, has(sources.map(|it| it.of_countries().is_some())), "countryDbSource or cityDbSource"),
        ("region and city", needs.city, has(sources.map(|it| it.city.is_some())), "cityDbSource"),
        ("asn", needs.asn, has(sources.map(|it| it.asn.is_some())), "asnDbSource"),
        ("isp", needs.isp, has(sources.map(|it| it.isp.is_some())), "ispDbSource"),
        ("anonymous", needs.anonymous, has(sources.map(|it| it.anonymous.is_some())), "anonymousIpDbSource"),
    ];
    let (field, .., source) = databases.into_iter().find(|(_, is_needed, has, _)| *is_needed && !has)?;
    let message = format!(
        "authorization: clientIPGeoLocations {field}: name a file in spec.geoIP.provider.maxMind.{source} of the Gateway's EnvoyProxy; until \
         then the routes that the policy applies to answer 500"
    );
    Some(Problem::accepted("Invalid", message))
}
