use super::*;
use crate::overview::RequestCounts;

fn target(gateway: &str, name: &str) -> ProxyTarget {
    ProxyTarget { gateway: Name::new("default", gateway), name: Name::new("default", name), admin: None }
}

fn list(proxies: &[ProxyTarget]) -> ProxyList {
    ProxyList { proxies: proxies.to_vec(), omitted: 0, problem: None }
}

fn sample(uptime: f64, total: u64) -> Result<Overview, String> {
    let requests = RequestCounts { active: 1, total, ..RequestCounts::default() };
    Ok(Overview { uptime_seconds: uptime, ready: true, requests: Some(requests), ..Overview::default() })
}

/// A look at these proxies with their answers.
fn look(samples: &mut Samples, answers: Vec<(ProxyTarget, Result<Overview, String>)>, now: Instant) {
    let proxies: Vec<_> = answers.iter().map(|(proxy, _)| proxy.clone()).collect();
    samples.begin(&list(&proxies), now);
    for (proxy, answer) in answers {
        samples.take(&proxy.name, answer, now);
    }
    samples.end(now);
}

fn shown(samples: &Samples, gateway: Option<&str>, proxy: Option<&str>) -> Overview {
    let mut overview = Overview { kind: "controller".to_owned(), ..Overview::default() };
    samples.fill(&Selection::of(gateway, proxy), &mut overview);
    overview
}

fn totals(samples: &Samples) -> (u64, u64) {
    let requests = shown(samples, None, None).requests.unwrap();
    (requests.total, requests.active)
}

#[test]
fn counts_never_fall_when_a_proxy_is_away_restarts_or_goes() {
    let (mut samples, start) = (Samples::default(), Instant::now());
    let [a, b] = [target("g", "a"), target("g", "b")];
    let at = |seconds| start + Duration::from_secs(seconds);
    look(&mut samples, vec![(a.clone(), sample(100.0, 10)), (b.clone(), sample(100.0, 20))], at(0));
    assert_eq!(totals(&samples), (30, 2));
    look(&mut samples, vec![(a.clone(), Err("it does not answer".to_owned())), (b.clone(), sample(101.0, 21))], at(1));
    assert_eq!(totals(&samples), (31, 1));
    let row = &shown(&samples, None, None).proxies.unwrap()[0];
    assert_eq!((row.away.as_deref(), row.ready, row.requests), (Some("it does not answer"), false, 10));
    look(&mut samples, vec![(a.clone(), sample(2.0, 3)), (b.clone(), sample(106.0, 22))], at(6));
    assert_eq!(totals(&samples), (35, 2), "a has restarted");
    look(&mut samples, vec![(a.clone(), sample(3.0, 4))], at(7));
    assert_eq!((totals(&samples), samples.series), ((36, 1), 1), "b has gone");
    assert_eq!(shown(&samples, Some("default/g"), None).requests.unwrap().total, 36);
    assert_eq!(shown(&samples, None, Some("default/a")).requests.unwrap().total, 14);
}

#[test]
fn a_look_that_takes_long_keeps_the_counts() {
    let (mut samples, start) = (Samples::default(), Instant::now());
    let a = target("g", "a");
    for look in 0..3 {
        samples.begin(&list(std::slice::from_ref(&a)), start + 2 * look * IDLE_TIMEOUT);
        samples.take(&a.name, sample(100.0 + 60.0 * f64::from(look), 10), start + 2 * look * IDLE_TIMEOUT);
        samples.end(start + (2 * look + 2) * IDLE_TIMEOUT - Duration::from_secs(1));
    }
    assert_eq!((samples.series, totals(&samples)), (1, (10, 1)));
    assert!(
        !samples.are_newer_than(Duration::from_secs(1), start + 6 * IDLE_TIMEOUT),
        "the samples are as old as the look's begin"
    );
}

#[test]
fn pods_that_are_cut_off_are_not_counted_twice_when_they_come_back() {
    let (mut samples, now) = (Samples::default(), Instant::now());
    let [a, b, c] = ["a", "b", "c"].map(|name| target("g", name));
    look(&mut samples, vec![(a.clone(), sample(9.0, 1)), (b.clone(), sample(9.0, 10)), (c.clone(), sample(9.0, 100))], now);
    samples.begin(&ProxyList { omitted: 1, ..list(std::slice::from_ref(&b)) }, now);
    samples.take(&b.name, sample(9.0, 10), now);
    let row = &shown(&samples, None, None).proxies.unwrap()[1];
    assert_eq!(row.away.as_deref(), Some("it is not asked: it is beside the first 1 proxies"));
    assert_eq!(totals(&samples), (111, 1), "a has gone, c is away");
    look(&mut samples, vec![(b, sample(9.0, 10)), (c, sample(9.0, 100))], now);
    assert_eq!(totals(&samples), (111, 2));
}

#[test]
fn a_proxy_that_brings_a_past_along_begins_another_series() {
    let (mut samples, start) = (Samples::default(), Instant::now());
    let [a, b, c] = ["a", "b", "c"].map(|name| target("g", name));
    look(&mut samples, vec![(a.clone(), sample(100.0, 10))], start);
    let later = start + Duration::from_secs(20);
    look(&mut samples, vec![(a.clone(), sample(120.0, 10)), (b.clone(), sample(3.0, 1))], later);
    assert_eq!(samples.series, 1, "b has just started");
    look(&mut samples, vec![(a.clone(), sample(121.0, 10)), (b.clone(), sample(4.0, 1)), (c, sample(900.0, 5000))], later);
    assert_eq!(samples.series, 2);
    look(&mut samples, vec![(a, sample(160.0, 10)), (b, sample(50.0, 1))], later + IDLE_TIMEOUT);
    assert_eq!((samples.series, totals(&samples)), (3, (11, 2)), "nobody looked for a while");
}

#[test]
fn a_choice_shows_its_proxies_alone_and_says_where_there_is_none() {
    let (mut samples, now) = (Samples::default(), Instant::now());
    let [a, b] = [target("g", "a"), target("h", "b")];
    look(&mut samples, vec![(a, sample(9.0, 10)), (b, sample(9.0, 20))], now);
    let of_h = shown(&samples, Some("default/h"), None);
    assert_eq!((of_h.requests.unwrap().total, of_h.proxies.unwrap().len(), of_h.unknown), (20, 2, None));
    let of_none = shown(&samples, None, Some("default/c"));
    assert!(of_none.requests.is_none() && of_none.unknown.unwrap().contains("no proxy that is chosen answers"));
    look(&mut samples, Vec::new(), now);
    samples.list_problem = Some("the API server does not list them".to_owned());
    assert!(shown(&samples, None, None).unknown.unwrap().starts_with("pods of proxies: the API server"));
    assert!(shown(&Samples::default(), None, None).unknown.unwrap().contains("there is no proxy of a Gateway yet"));
}
