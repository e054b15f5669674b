use std::{sync::atomic::AtomicU32, time::Duration};

use super::*;

/// A resolver over scripted answers: the n-th lookup gets the n-th answer, the last one forever.
fn scripted(answers: Vec<Result<(Vec<&'static str>, Duration), ()>>) -> (Dns, Arc<AtomicU32>) {
    let count = Arc::new(AtomicU32::new(0));
    let lookups = Arc::clone(&count);
    let lookup: Lookup = Box::new(move |host| {
        let index = lookups.fetch_add(1, Ordering::SeqCst) as usize;
        let answer = match &answers[index.min(answers.len() - 1)] {
            Ok((addresses, ttl)) => Ok((addresses.iter().map(|address| address.parse().unwrap()).collect(), Instant::now() + *ttl)),
            Err(()) => Err(ResolveError::NoAddress(host)),
        };
        Box::pin(std::future::ready(answer))
    });
    (Dns::with_lookup(Handle::current(), Overrides::default(), lookup), count)
}

#[tokio::test]
async fn an_answer_is_kept_and_renewed_without_waiting() {
    let (dns, lookups) = scripted(vec![Ok((vec!["10.0.0.1"], Duration::ZERO)), Ok((vec!["10.0.0.2"], Duration::from_secs(60)))]);
    let first = dns.resolve("a.example", 80, DnsSettings::default()).await.unwrap();
    assert_eq!(first, ["10.0.0.1:80".parse().unwrap()]);
    assert_eq!(dns.resolve("a.example", 81, DnsSettings::default()).await.unwrap(), ["10.0.0.1:81".parse().unwrap()]);
    assert_eq!(lookups.load(Ordering::SeqCst), 1, "the least time an answer holds is a second");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(
        dns.resolve("a.example", 80, DnsSettings::default()).await.unwrap(),
        first,
        "known addresses are used while they are renewed"
    );
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!dns.still_holds("a.example", 80, DnsSettings::default(), first[0]));
    assert_eq!(dns.resolve("a.example", 80, DnsSettings::default()).await.unwrap(), ["10.0.0.2:80".parse().unwrap()]);
    assert_eq!(lookups.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_failure_names_the_host_and_is_kept_for_a_while() {
    let (dns, lookups) = scripted(vec![Err(())]);
    assert_eq!(
        dns.resolve("nowhere.example", 80, DnsSettings::default()).await.unwrap_err().to_string(),
        "nowhere.example has no address"
    );
    assert!(dns.resolve("nowhere.example", 80, DnsSettings::default()).await.is_err());
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn addresses_and_localhost_need_no_lookup() {
    let (dns, lookups) = scripted(vec![Err(())]);
    assert_eq!(dns.resolve("10.1.2.3", 80, DnsSettings::default()).await.unwrap(), ["10.1.2.3:80".parse().unwrap()]);
    assert_eq!(dns.resolve("[::1]", 80, DnsSettings::default()).await.unwrap(), ["[::1]:80".parse().unwrap()]);
    assert!(dns.resolve("Localhost", 80, DnsSettings::default()).await.unwrap().contains(&"127.0.0.1:80".parse().unwrap()));
    assert_eq!(lookups.load(Ordering::SeqCst), 0);
}

#[test]
fn families_take_turns_and_so_do_addresses() {
    let addresses: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2", "::1"].iter().map(|address| address.parse().unwrap()).collect();
    let order = |turn| in_order(&addresses, turn).map(|address| address.to_string()).collect::<Vec<_>>();
    assert_eq!(order(0), ["10.0.0.1", "::1", "10.0.0.2"]);
    assert_eq!(order(1), ["10.0.0.2", "::1", "10.0.0.1"]);
}

#[tokio::test]
async fn addresses_are_of_the_families_wanted() {
    let (dns, _) = scripted(vec![Ok((vec!["10.0.0.1", "fd00::1"], Duration::from_secs(60)))]);
    for (family, addresses) in [
        (DnsFamily::V4, vec!["10.0.0.1:80"]),
        (DnsFamily::V6, vec!["[fd00::1]:80"]),
        (DnsFamily::PreferV4, vec!["10.0.0.1:80"]),
        (DnsFamily::PreferV6, vec!["[fd00::1]:80"]),
        (DnsFamily::Both, vec!["10.0.0.1:80", "[fd00::1]:80"]),
    ] {
        let settings = DnsSettings { family, ..DnsSettings::default() };
        let mut found: Vec<_> = dns.resolve("a.example", 80, settings).await.unwrap();
        found.sort();
        assert_eq!(found, addresses.iter().map(|it| it.parse().unwrap()).collect::<Vec<_>>(), "{family:?}");
    }
    let (dns, _) = scripted(vec![Ok((vec!["fd00::1"], Duration::from_secs(60)))]);
    let only = |family| DnsSettings { family, ..DnsSettings::default() };
    assert!(dns.resolve("a.example", 80, only(DnsFamily::V4)).await.is_err());
    assert_eq!(dns.resolve("a.example", 80, only(DnsFamily::PreferV4)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_refresh_rate_counts_in_place_of_the_time_that_an_answer_says() {
    let (dns, lookups) = scripted(vec![Ok((vec!["10.0.0.1"], Duration::ZERO))]);
    let settings = DnsSettings { refresh: Some(Duration::from_secs(3600)), ..DnsSettings::default() };
    let found = dns.resolve("a.example", 80, settings).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    dns.resolve("a.example", 80, settings).await.unwrap();
    assert!(dns.still_holds("a.example", 80, settings, found[0]));
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
    dns.resolve("a.example", 80, DnsSettings::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(lookups.load(Ordering::SeqCst), 2, "for others its time is over");
}
