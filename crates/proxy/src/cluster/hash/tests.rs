use std::{sync::Arc, time::Duration};

use http::{HeaderName, header::COOKIE};

use super::*;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn hash(source: &HashSource, lines: &[(&'static str, &'static str)], query: &str) -> Option<u64> {
    hash_of(source, &headers(lines), PEER, query).hash
}

#[test]
fn a_source_address_hashes_alike_in_both_notations() {
    let mapped = IpAddr::V6("::ffff:192.0.2.7".parse().unwrap());
    let none = HeaderMap::new();
    assert_eq!(hash_of(&HashSource::SourceIp, &none, PEER, ""), hash_of(&HashSource::SourceIp, &none, mapped, ""));
    let other = IpAddr::V4("192.0.2.8".parse().unwrap());
    assert_ne!(hash_of(&HashSource::SourceIp, &none, PEER, ""), hash_of(&HashSource::SourceIp, &none, other, ""));
}

#[test]
fn headers_hash_by_all_their_values_and_their_absence_is_no_hash() {
    let source = HashSource::Headers(vec![HeaderName::from_static("x-user"), HeaderName::from_static("x-tenant")]);
    assert_eq!(hash(&source, &[("accept", "*/*")], ""), None);
    assert_eq!(hash(&source, &[("x-user", "a"), ("accept", "x")], ""), hash(&source, &[("x-user", "a")], ""));
    let users = ["a", "b", "ab"].map(|user| hash(&source, &[("x-user", user)], ""));
    assert!(users[0] != users[1] && users[1] != users[2] && users[0] != users[2]);
    assert_ne!(hash(&source, &[("x-user", "a")], ""), hash(&source, &[("x-tenant", "a")], ""));
    assert_ne!(
        hash(&source, &[("x-user", "a"), ("x-tenant", "bc")], ""),
        hash(&source, &[("x-user", "ab"), ("x-tenant", "c")], "")
    );
}

#[test]
fn query_parameters_hash_by_decoded_name() {
    let source = HashSource::QueryParams(vec![Arc::from("user id")]);
    assert_eq!(hash(&source, &[], ""), None);
    assert_eq!(hash(&source, &[], "user=7&id=7"), None);
    let plain = hash(&source, &[], "user%20id=7&x=1");
    assert!(plain.is_some());
    assert_eq!(plain, hash(&source, &[], "x=2&user%20id=7"));
    assert_ne!(plain, hash(&source, &[], "user%20id=8"));
}

fn cookie_source(ttl: Option<Duration>, attributes: &[(&str, Option<&str>)]) -> HashSource {
    let attributes = attributes.iter().map(|&(name, value)| (Arc::from(name), value.map(Arc::from))).collect();
    HashSource::Cookie { name: Arc::from("session"), ttl, attributes }
}

#[test]
fn a_cookie_is_found_among_others_and_quotes_do_not_count() {
    let source = cookie_source(None, &[]);
    let found = hash_of(&source, &headers(&[("cookie", "a=1; session=xyz; b=2")]), PEER, "");
    assert!(found.hash.is_some() && found.set_cookie.is_none());
    assert_eq!(found.hash, hash(&source, &[("cookie", "xsession=no"), ("cookie", "session=\"xyz\"")], ""));
}

#[test]
fn a_cookie_made_for_a_client_leads_it_to_the_same_endpoint_the_next_time() {
    let source = cookie_source(Some(Duration::from_secs(60)), &[("SameSite", Some("Strict")), ("Secure", None)]);
    let made = hash_of(&source, &HeaderMap::new(), PEER, "");
    let line = made.set_cookie.unwrap();
    let line = line.to_str().unwrap();
    let (pair, attributes) = line.split_once("; ").unwrap();
    assert_eq!(attributes, "Max-Age=60; SameSite=Strict; Secure; Path=/; HttpOnly");
    let mut next = HeaderMap::new();
    next.insert(COOKIE, HeaderValue::try_from(format!("other=1; {pair}")).unwrap());
    assert_eq!(hash_of(&source, &next, PEER, ""), HashedRequest { hash: made.hash, set_cookie: None });
    assert_ne!(hash_of(&source, &HeaderMap::new(), PEER, "").hash, made.hash);
}

#[test]
fn a_cookie_without_a_life_ends_with_the_session_and_keeps_its_own_path() {
    let made = hash_of(&cookie_source(None, &[("path", Some("/v1"))]), &HeaderMap::new(), PEER, "");
    let line = made.set_cookie.unwrap();
    let attributes = line.to_str().unwrap().split_once("; ").unwrap().1.to_owned();
    assert_eq!(attributes, "path=/v1; HttpOnly");
}
