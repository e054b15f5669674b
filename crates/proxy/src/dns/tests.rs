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
    let first = dns.resolve("a.example", 80).await.unwrap();
    assert_eq!(first, ["10.0.0.1:80".parse().unwrap()]);
    assert_eq!(dns.resolve("a.example", 81).await.unwrap(), ["10.0.0.1:81".parse().unwrap()]);
    assert_eq!(lookups.load(Ordering::SeqCst), 1, "the least time an answer holds is a second");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(dns.resolve("a.example", 80).await.unwrap(), first, "known addresses are used while they are renewed");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!dns.still_holds("a.example", 80, first[0]));
    assert_eq!(dns.resolve("a.example", 80).await.unwrap(), ["10.0.0.2:80".parse().unwrap()]);
    assert_eq!(lookups.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_failure_names_the_host_and_is_kept_for_a_while() {
    let (dns, lookups) = scripted(vec![Err(())]);
    assert_eq!(dns.resolve("nowhere.example", 80).await.unwrap_err().to_string(), "nowhere.example has no address");
    assert!(dns.resolve("nowhere.example", 80).await.is_err());
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn addresses_and_localhost_need_no_lookup() {
    let (dns, lookups) = scripted(vec![Err(())]);
    assert_eq!(dns.resolve("10.1.2.3", 80).await.unwrap(), ["10.1.2.3:80".parse().unwrap()]);
    assert_eq!(dns.resolve("[::1]", 80).await.unwrap(), ["[::1]:80".parse().unwrap()]);
    assert!(dns.resolve("Localhost", 80).await.unwrap().contains(&"127.0.0.1:80".parse().unwrap()));
    assert_eq!(lookups.load(Ordering::SeqCst), 0);
}

#[test]
fn families_take_turns_and_so_do_addresses() {
    let addresses: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2", "::1"].iter().map(|address| address.parse().unwrap()).collect();
    let order = |turn| in_order(&addresses, turn).map(|address| address.to_string()).collect::<Vec<_>>();
    assert_eq!(order(0), ["10.0.0.1", "::1", "10.0.0.2"]);
    assert_eq!(order(1), ["10.0.0.2", "::1", "10.0.0.1"]);
}
