use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn key(number: u16) -> ObjectKey {
    ObjectKey::new("", "Service", "default", format!("{number:05}"))
}

fn is_sound(map: &ByKey<u8>) {
    assert!(map.chunks.iter().all(|chunk| (1..=CHUNK).contains(&chunk.len())));
    assert!(map.keys().zip(map.keys().skip(1)).all(|(a, b)| a < b));
    assert_eq!(map.iter().count(), map.len());
}

fn changes(count: u16, most: usize) -> impl Strategy<Value = Vec<(u16, Option<u8>)>> {
    proptest::collection::vec((0..count, proptest::option::weighted(0.6, any::<u8>())), 0..most)
}

fn apply(map: &mut ByKey<u8>, model: &mut BTreeMap<u16, u8>, changes: &[(u16, Option<u8>)]) {
    for (number, value) in changes {
        match value {
            Some(value) => assert_eq!(map.insert(key(*number).into(), *value), model.insert(*number, *value)),
            None => assert_eq!(map.remove(&key(*number)), model.remove(number)),
        }
    }
}

proptest! {
    #[test]
    fn it_is_a_map_and_tells_what_changed(first in changes(300, 600), then in changes(300, 40)) {
        let (mut map, mut model) = (ByKey::default(), BTreeMap::new());
        apply(&mut map, &mut model, &first);
        is_sound(&map);
        let (before, former) = (map.clone(), model.clone());
        apply(&mut map, &mut model, &then);
        is_sound(&map);
        prop_assert!(before.iter().map(|(key, value)| (key.name.clone(), *value)).eq(former.iter().map(|(number, value)| (key(*number).name, *value))));
        prop_assert!(map.iter().map(|(key, value)| (key.name.clone(), *value)).eq(model.iter().map(|(number, value)| (key(*number).name, *value))));
        for number in 0..300 {
            prop_assert_eq!(map.get(&key(number)), model.get(&number));
            prop_assert_eq!(map.from(&key(number)).count(), model.range(number..).count());
        }
        let told: Vec<_> = before.differences(&map, u8::eq).map(|(key, was, is)| (key.name.clone(), was.copied(), is.copied())).collect();
        let all: BTreeSet<u16> = former.keys().chain(model.keys()).copied().collect();
        let differs = all.into_iter().filter(|number| former.get(number) != model.get(number));
        let expected: Vec<_> = differs.map(|it| (key(it).name, former.get(&it).copied(), model.get(&it).copied())).collect();
        prop_assert_eq!(told, expected);
        prop_assert_eq!(before == map, former == model);
    }
}

#[test]
fn what_comes_in_order_fills_its_chunks_and_a_copy_shares_all_but_what_is_changed() {
    let mut map: ByKey<u8> = (0..1000).map(|number| (Arc::new(key(number)), 0)).collect();
    assert_eq!(map.chunks.len(), 1000_usize.div_ceil(CHUNK));
    let before = map.clone();
    map.insert(key(500).into(), 1);
    map.remove(&key(3));
    let shared = map.chunks.iter().zip(&before.chunks).filter(|(now, before)| Arc::ptr_eq(now, before)).count();
    assert_eq!(shared, before.chunks.len() - 2);
}
