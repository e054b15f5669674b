use std::collections::BTreeMap;

use futures_util::StreamExt;
use pailou_api::ObjectKey;
use proptest::prelude::*;

use super::*;
use crate::Json;

fn needed(objects: &BTreeMap<u8, u8>) -> Needed {
    let key = |name: &u8| Arc::new(ObjectKey::new("", "Service", "default", name.to_string()));
    objects.iter().map(|(name, value)| (key(name), Json::new(format!(r#"{{"name":{name},"value":{value}}}"#)))).collect()
}

/// Takes lines in as a proxy would; gives back whether they were closed.
fn take(lines: &[u8], objects: &mut BTreeMap<u8, u8>) -> bool {
    let mut is_closed = false;
    for line in std::str::from_utf8(lines).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        match line["type"].as_str().unwrap() {
            "UPSERT" => {
                let number = |field: &str| u8::try_from(line["object"][field].as_u64().unwrap()).unwrap();
                objects.insert(number("name"), number("value"));
            }
            "DELETE" => drop(objects.remove(&line["key"]["name"].as_str().unwrap().parse().unwrap())),
            "SYNCED" => is_closed = true,
            other => panic!("{other}"),
        }
    }
    is_closed
}

proptest! {
    #[test]
    fn whoever_takes_in_the_differences_has_what_there_is(
        versions in proptest::collection::vec(proptest::collection::btree_map(0..12_u8, 0..3_u8, 0..12), 1..6),
    ) {
        let (mut sent, mut has): (Option<Needed>, _) = (None, BTreeMap::new());
        for version in versions {
            let now = needed(&version);
            let lines = batch(sent.as_ref(), &now);
            let differs = sent.as_ref() != Some(&now);
            prop_assert_eq!(take(&lines, &mut has), differs);
            prop_assert_eq!(&has, &version);
            sent = Some(now);
        }
    }
}

#[tokio::test]
async fn a_feed_waits_for_its_gateway_and_ends_with_it() {
    let (send, needed) = watch::channel(State::Unknown);
    let mut lines = Box::pin(lines(needed));
    let objects = self::needed(&BTreeMap::from([(1, 1)]));
    send.send(State::Needs(Arc::new(objects))).unwrap();
    let mut has = BTreeMap::new();
    assert!(take(&lines.next().await.unwrap(), &mut has));
    assert_eq!(has, BTreeMap::from([(1, 1)]));
    send.send(State::Gone).unwrap();
    assert_eq!(lines.next().await, None);
}
