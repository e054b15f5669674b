//! Rules over the place of a client's address (SecurityPolicy `clientIPGeoLocations`, EnvoyProxy `geoIP`).

use std::{fs, net::Ipv4Addr, path::PathBuf};

use crate::support::{
    ear::Ear,
    mmdb::{Field, database},
    objects::{Gateway, backend, route},
};

const TO_EAR: &str = "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}";
const GATEWAY: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n  gatewayClassName: pailou\n  \
                       infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: places}}\n  listeners: [{name: \
                       http, protocol: HTTP, port: 8080}]\n---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: \
                       ClientTrafficPolicy\nmetadata: {name: client}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, \
                       name: gw}]\n  clientIPDetection: {customHeader: {name: x-client-ip, failClosed: true}}\n";

/// A directory of files that goes with the test.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pailou-geo-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name), bytes).unwrap();
    }

    /// The EnvoyProxy with these sources.
    fn proxy(&self, sources: &[(&str, &str)]) -> String {
        let source = |(field, file): &(&str, &str)| format!("{field}: {{local: {{path: {}}}}}", self.0.join(file).display());
        let sources: Vec<_> = sources.iter().map(source).collect();
        format!(
            "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyProxy\nmetadata: {{name: places}}\nspec: {{geoIP: {{provider: {{type: \
             MaxMind, maxMind: {{{}}}}}}}}}\n",
            sources.join(", ")
        )
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn policy(rules: &str) -> String {
    format!(
        "---\napiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {{name: places}}\nspec:\n  targetRefs: [{{group: \
         gateway.networking.k8s.io, kind: HTTPRoute, name: route}}]\n  authorization: {{rules: [{rules}]}}\n"
    )
}

fn allow(location: &str) -> String {
    format!("{{action: Allow, principal: {{clientIPGeoLocations: [{location}]}}}}")
}

fn cities() -> Vec<u8> {
    let place = |country, region, city| {
        Field::Map(vec![
            ("country", Field::Map(vec![("iso_code", Field::Text(country))])),
            ("subdivisions", Field::List(vec![Field::Map(vec![("iso_code", Field::Text(region))])])),
            ("city", Field::Map(vec![("names", Field::Map(vec![("en", Field::Text(city))]))])),
        ])
    };
    let country = Field::Map(vec![("country", Field::Map(vec![("iso_code", Field::Text("FR"))]))]);
    database(
        "GeoLite2-City",
        &[
            (Ipv4Addr::new(10, 1, 0, 0), 16, place("DE", "BE", "Berlin")),
            (Ipv4Addr::new(10, 2, 0, 0), 16, place("US", "CA", "San Francisco and its neighbours by the bay")),
            (Ipv4Addr::new(10, 3, 0, 0), 16, country),
        ],
    )
}

async fn status(gateway: &Gateway, client: &str) -> String {
    let answer = gateway.ask(&format!("GET / HTTP/1.1\r\nhost: a.test\r\nx-client-ip: {client}")).await;
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn rules_see_the_place_of_an_address() {
    let files = Files::new("places");
    files.write("city.mmdb", &cities());
    let number = Field::Map(vec![("autonomous_system_number", Field::Number(64500))]);
    files.write("asn.mmdb", &database("GeoLite2-ASN", &[(Ipv4Addr::new(10, 1, 0, 0), 17, number)]));
    let provider = Field::Map(vec![("isp", Field::Text("Example Net"))]);
    files.write("isp.mmdb", &database("GeoIP2-ISP", &[(Ipv4Addr::new(10, 0, 0, 0), 8, provider)]));
    let signs = Field::Map(vec![("is_anonymous", Field::Bool(true)), ("is_anonymous_vpn", Field::Bool(true))]);
    files.write("anonymous.mmdb", &database("GeoIP2-Anonymous-IP", &[(Ipv4Addr::new(10, 1, 9, 0), 24, signs)]));
    let proxy = files.proxy(&[
        ("cityDbSource", "city.mmdb"),
        ("asnDbSource", "asn.mmdb"),
        ("ispDbSource", "isp.mmdb"),
        ("anonymousIpDbSource", "anonymous.mmdb"),
    ]);
    let ear = Ear::start().await;
    let objects = |rules: &str| [GATEWAY, &proxy, &route(TO_EAR), &backend("ear", ear.address, ""), &policy(rules)].concat();
    let gateway = Gateway::at_own_address(&objects(&allow("{country: DE}")));
    for (location, allowed, denied) in [
        ("{country: de}", ["10.1.0.1", "10.1.255.255"], ["10.2.0.1", "10.3.0.1"]),
        ("{country: US, region: ca}, {country: FR}", ["10.2.0.1", "10.3.0.1"], ["10.1.0.1", "10.9.0.1"]),
        ("{city: berlin}", ["10.1.0.1", "10.1.0.2"], ["10.2.0.1", "10.3.0.1"]),
        ("{city: san francisco and its neighbours by the bay}", ["10.2.0.1", "10.2.0.2"], ["10.1.0.1", "10.3.0.1"]),
        ("{asn: 64500}", ["10.1.0.1", "10.1.127.255"], ["10.1.128.0", "10.2.0.1"]),
        ("{isp: EXAMPLE NET, country: FR}", ["10.3.0.1", "10.3.0.2"], ["10.1.0.1", "11.0.0.1"]),
        ("{anonymous: {isVPN: true}}", ["10.1.9.1", "10.1.9.255"], ["10.1.8.1", "10.2.0.1"]),
        ("{anonymous: {isAnonymous: true, isTor: false}}", ["10.1.9.1", "10.1.9.2"], ["10.1.8.1", "2001:db8::1"]),
        ("{anonymous: {isAnonymous: false}}", ["10.1.8.1", "2001:db8::1"], ["10.1.9.1", "10.1.9.2"]),
    ] {
        gateway.update(&objects(&allow(location)));
        for client in allowed {
            assert_eq!(status(&gateway, client).await, "200", "{location}: {client}");
        }
        for client in denied {
            assert_eq!(status(&gateway, client).await, "403", "{location}: {client}");
        }
    }
    let path = files.0.join("city.mmdb").display().to_string();
    assert_eq!(gateway.metric(&format!("pailou_geoip_database_up{{path=\"{path}\"}}")), 1.0);
}

#[tokio::test]
async fn without_detection_of_clients_the_place_is_that_of_the_connections_address() {
    let files = Files::new("peer");
    let country = |code| Field::Map(vec![("country", Field::Map(vec![("iso_code", Field::Text(code))]))]);
    let places = [(Ipv4Addr::new(10, 1, 0, 0), 16, country("DE")), (Ipv4Addr::new(127, 0, 0, 0), 8, country("FR"))];
    files.write("country.mmdb", &database("GeoLite2-Country", &places));
    let proxy = files.proxy(&[("countryDbSource", "country.mmdb")]);
    let (alone, _) = GATEWAY.split_once("---").unwrap();
    let ear = Ear::start().await;
    let objects = |rules: &str| [alone, &proxy, &route(TO_EAR), &backend("ear", ear.address, ""), &policy(rules)].concat();
    let gateway = Gateway::at_own_address(&objects(&allow("{country: FR}")));
    let by_headers = "10.1.0.1\r\nx-forwarded-for: 10.1.0.1\r\nforwarded: for=10.1.0.1";
    assert_eq!(status(&gateway, by_headers).await, "200");
    gateway.update(&objects(&allow("{country: DE}")));
    assert_eq!(status(&gateway, by_headers).await, "403");
}

#[tokio::test]
async fn a_database_that_is_not_there_closes_the_routes_that_need_it() {
    let files = Files::new("missing");
    let ear = Ear::start().await;
    let open = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: open}\nspec:\n  parentRefs: [{name: gw}]\n  \
                rules: [{matches: [{path: {value: /open}}], backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ear}]}]\n";
    let objects = |proxy: &str, rules: &str| {
        [GATEWAY, proxy, &route(TO_EAR), open, &backend("ear", ear.address, ""), &policy(rules)].concat()
    };
    let proxy = files.proxy(&[("cityDbSource", "city.mmdb")]);
    let deny = "{action: Deny, principal: {clientIPGeoLocations: [{country: US}]}}, {action: Allow, principal: {clientCIDRs: [0.0.0.0/0]}}";
    let gateway = Gateway::at_own_address(&objects(&proxy, deny));
    assert_eq!(status(&gateway, "10.1.0.1").await, "500");
    let answer = gateway.ask("GET /open HTTP/1.1\r\nhost: a.test\r\nx-client-ip: 10.1.0.1").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    gateway.log.line("city.mmdb: there is no such file").await;
    // One that is cut off, and one that is none.
    let whole = cities();
    // And one of something else, in which every address would be unknown.
    let other = database(
        "GeoLite2-ASN",
        &[(Ipv4Addr::new(10, 1, 0, 0), 17, Field::Map(vec![("autonomous_system_number", Field::Number(64500))]))],
    );
    for broken in [&whole[..whole.len() / 2], b"no database", &other[..]] {
        files.write("city.mmdb", broken);
        gateway.update(&objects(&proxy, deny));
        assert_eq!(status(&gateway, "10.1.0.1").await, "500");
    }
    files.write("city.mmdb", &whole);
    gateway.update(&objects(&proxy, deny));
    let is_read = async { while status(&gateway, "10.1.0.1").await != "200" {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), is_read).await.expect("the file is read again");
    assert_eq!(status(&gateway, "10.2.0.1").await, "403");
    // Rules that need another, and a Gateway without any.
    gateway.update(&objects(&proxy, &allow("{asn: 1}")));
    assert_eq!(status(&gateway, "10.1.0.1").await, "500");
    gateway.update(&objects("", deny));
    assert_eq!(status(&gateway, "10.1.0.1").await, "500");
}
