use serde_json::json;

use super::*;

fn proxy(name: &str) -> ProxyTarget {
    ProxyTarget { gateway: Name::new("default", "g"), name: Name::new("default", name), admin: None }
}

fn receipt(id: &str, status: u16) -> Value {
    json!({ "request_id": id, "status": status, "flag": null, "rule": { "matched": "HTTPRoute a/web/rule/0" }, "model": { "asked": "m" } })
}

/// A proxy's list: the newest first.
fn answer(last: u64, receipts: &[Value]) -> Option<Value> {
    Some(json!({ "last": last, "receipts": receipts }))
}

fn ids(news: &News) -> Vec<String> {
    let id = |receipt: &Arc<TailReceipt>| {
        serde_json::from_str::<Value>(&receipt.json).unwrap()["request_id"].as_str().unwrap().to_owned()
    };
    news.receipts.iter().map(id).collect()
}

#[test]
fn news_are_what_comes_after_the_first_answer_each_once_and_in_order() {
    let (tail, now) = (Tail::default(), Instant::now());
    tail.take(&proxy("a"), answer(7, &[receipt("old", 200)]), now);
    assert_eq!((tail.last(), tail.due(&[proxy("a")], now)), (0, vec![(proxy("a"), Some(7))]));
    // A proxy of a version without `after` answers with those that are known, too.
    tail.take(&proxy("a"), answer(9, &[receipt("two", 200), receipt("one", 503), receipt("old", 200)]), now);
    tail.take(&proxy("b"), answer(0, &[]), now);
    tail.take(&proxy("b"), answer(1, &[receipt("three", 200)]), now);
    tail.take(&proxy("a"), answer(9, &[]), now);
    assert_eq!(ids(&tail.after(0, 9)), ["one", "two", "three"]);
    assert_eq!(ids(&tail.after(2, 9)), ["three"]);
    assert!(tail.after(0, 9).receipts[0].json.contains(r#""proxy":"default/a""#));
    tail.take(&proxy("a"), answer(1, &[receipt("restarted", 200)]), now);
    assert_eq!(ids(&tail.after(3, 9)), ["restarted"]);
}

#[test]
fn a_viewer_gets_what_it_wants_of_the_proxies_that_it_chose() {
    let (tail, now) = (Tail::default(), Instant::now());
    for name in ["a", "b"] {
        tail.take(&proxy(name), answer(0, &[]), now);
        tail.take(&proxy(name), answer(1, &[receipt(name, 503)]), now);
    }
    let news = tail.after(0, 9);
    let wanted = |selection: &Selection, filter: ReceiptFilter| -> usize {
        news.receipts.iter().filter(|receipt| receipt.meets(selection, &filter)).count()
    };
    let failed = ReceiptFilter { status: Some((500, 599)), route: Some("web".to_owned()), ..ReceiptFilter::default() };
    assert_eq!(wanted(&Selection::All, failed.clone()), 2);
    assert_eq!(wanted(&Selection::Proxy(Name::new("default", "b")), failed), 1);
    assert_eq!(wanted(&Selection::Gateway(Name::new("default", "h")), ReceiptFilter::default()), 0);
    assert_eq!(wanted(&Selection::All, ReceiptFilter { flag: Some("UH".to_owned()), ..ReceiptFilter::default() }), 0);
    assert_eq!(wanted(&Selection::All, ReceiptFilter { model: Some("m".to_owned()), ..ReceiptFilter::default() }), 2);
}

#[test]
fn receipts_are_bounded_and_a_viewer_learns_what_it_lost() {
    let (tail, now) = (Tail::default(), Instant::now());
    tail.take(&proxy("a"), answer(0, &[]), now);
    for last in 1..=MAX_KEPT as u64 + 5 {
        tail.take(&proxy("a"), answer(last, &[receipt("x", 200)]), now);
    }
    let news = tail.after(0, 9);
    assert_eq!((news.lost, news.receipts.len(), news.receipts[0].sequence), (5, 9, 6));
    assert_eq!(tail.state.lock().receipts.len(), MAX_KEPT);
}

#[test]
fn a_proxy_that_is_away_is_left_alone_for_a_while_and_one_that_has_gone_is_forgotten() {
    let (tail, now) = (Tail::default(), Instant::now());
    tail.take(&proxy("a"), None, now);
    assert_eq!(tail.due(&[proxy("a")], now), []);
    assert_eq!(tail.due(&[proxy("a")], now + AWAY_INTERVAL), [(proxy("a"), None)]);
    tail.due(&[], now);
    assert!(tail.state.lock().cursors.is_empty());
    assert!(!tail.goes_on(now), "nobody looks");
}
