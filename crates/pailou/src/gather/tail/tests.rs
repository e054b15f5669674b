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
    let tail = Tail::default();
    tail.take(&proxy("a"), answer(7, &[receipt("old", 200)]));
    assert_eq!((tail.last(), tail.due(&[proxy("a")])), (0, vec![(proxy("a"), Some(7))]));
    // A proxy of a version without `after` answers with those that are known, too.
    tail.take(&proxy("a"), answer(9, &[receipt("two", 200), receipt("one", 503), receipt("old", 200)]));
    tail.take(&proxy("b"), answer(0, &[]));
    tail.take(&proxy("b"), answer(1, &[receipt("three", 200)]));
    tail.take(&proxy("a"), answer(9, &[]));
    assert_eq!(ids(&tail.after(0, 9)), ["one", "two", "three"]);
    assert_eq!(ids(&tail.after(2, 9)), ["three"]);
    assert!(tail.after(0, 9).receipts[0].json.contains(r#""proxy":"default/a""#));
    tail.take(&proxy("a"), answer(1, &[receipt("restarted", 200)]));
    assert_eq!(ids(&tail.after(3, 9)), ["restarted"]);
}

#[test]
fn a_viewer_gets_what_it_wants_of_the_proxies_that_it_chose() {
    let tail = Tail::default();
    for name in ["a", "b"] {
        tail.take(&proxy(name), answer(0, &[]));
        tail.take(&proxy(name), answer(1, &[receipt(name, 503)]));
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
    let tail = Tail::default();
    tail.take(&proxy("a"), answer(0, &[]));
    for last in 1..=MAX_KEPT as u64 + 5 {
        tail.take(&proxy("a"), answer(last, &[receipt("x", 200)]));
    }
    let news = tail.after(0, 9);
    assert_eq!((news.lost, news.receipts.len(), news.receipts[0].sequence), (5, 9, 6));
    assert_eq!(tail.state.lock().receipts.len(), MAX_KEPT);
}

#[test]
fn what_a_proxy_had_beyond_its_answer_is_lost() {
    let tail = Tail::default();
    tail.take(&proxy("a"), answer(10, &[]));
    tail.take(&proxy("a"), answer(300, &[]));
    tail.take(&proxy("a"), answer(310, &[receipt("two", 200), receipt("one", 200)]));
    tail.take(&proxy("a"), answer(311, &[receipt("three", 200)]));
    let news = tail.after(0, 9);
    assert_eq!(ids(&news), ["one", "two", "three"]);
    assert_eq!(news.receipts.iter().map(|receipt| receipt.lost).collect::<Vec<_>>(), [298, 0, 0]);
    assert!(news.receipts[0].is_of(&Selection::All) && !news.receipts[0].is_of(&Selection::Proxy(Name::new("default", "b"))));
}

#[test]
fn a_proxy_that_is_asked_is_not_asked_again_meanwhile_and_one_that_has_gone_is_forgotten() {
    let tail = Tail::default();
    let both = [proxy("a"), proxy("b")];
    assert_eq!(tail.due(&both), [(proxy("a"), None), (proxy("b"), None)]);
    tail.take(&proxy("b"), answer(3, &[]));
    assert_eq!(tail.due(&both), [(proxy("b"), Some(3))], "a is slow");
    tail.take(&proxy("a"), None);
    assert_eq!(tail.due(&both), [(proxy("a"), None)]);
    tail.due(&[]);
    assert!(tail.state.lock().cursors.is_empty());
    assert!(!tail.goes_on(Instant::now()), "nobody looks");
}
