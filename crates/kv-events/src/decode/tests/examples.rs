use super::*;

/// BlockStored of two blocks of 2 tokens, by position, with what follows the block size.
fn by_position<const N: usize>(rest: [Value; N]) -> Value {
    let start = [Value::from("BlockStored"), ints([11, 12]), Value::Nil, ints([1, 2, 3, 4]), Value::from(2)];
    Value::Array(start.into_iter().chain(rest).collect())
}

fn by_name(rest: &[(&str, Value)]) -> Value {
    let start = [
        ("block_hashes", ints([11, 12])),
        ("parent_block_hash", Value::from(9)),
        ("token_ids", ints([1, 2, 3, 4])),
        ("block_size", Value::from(2)),
        ("type", Value::from("BlockStored")),
    ];
    map(&[&start[..], rest].concat())
}

#[test]
fn arrays_and_maps_mean_the_same_in_every_combination() {
    let events = [
        by_position([Value::Nil, Value::from("CPU")]),
        map(&[
            ("type", Value::from("BlockStored")),
            ("block_hashes", ints([11, 12])),
            ("parent_block_hash", Value::Nil),
            ("token_ids", ints([1, 2, 3, 4])),
            ("block_size", Value::from(2)),
            ("lora_id", Value::Nil),
            ("medium", Value::from("CPU")),
        ]),
    ];
    for event in events {
        let outer_array = encode(&array([Value::from(0.5), Value::Array(vec![event.clone()])]));
        let outer_map = encode(&map(&[
            ("data_parallel_rank", Value::from(1)),
            ("newer", Value::from("passed over")),
            ("events", Value::Array(vec![event])),
            ("ts", Value::from(0.5)),
        ]));
        for payload in [outer_array, outer_map] {
            let events = decode(&payload);
            let [event] = &events[..] else { panic!("one event: {events:?}") };
            let stored = stored(event);
            assert_eq!((&stored.hashes[..], stored.parent, stored.block_size), (&[11, 12][..], None, 2));
            assert_eq!((&stored.tokens[..], stored.tier), (&[1, 2, 3, 4][..], Tier::Cpu));
            assert!(stored.has_full_attention && !stored.is_reused);
        }
    }
}

#[test]
fn a_long_hash_is_its_last_8_bytes() {
    let long = |last: u8| Value::Binary([vec![7; 31], vec![last]].concat());
    let event = array([Value::from("BlockStored"), Value::Array(vec![long(1)]), long(0), ints([5]), Value::from(1)]);
    let events = decode(&batch(vec![event]));
    let stored = stored(&events[0]);
    assert_eq!((stored.hashes[0], stored.parent), (0x0707_0707_0707_0701, Some(0x0707_0707_0707_0700)));
}

#[test]
fn a_negative_hash_is_its_twos_complement() {
    let event = array([Value::from("BlockRemoved"), Value::Array(vec![Value::from(-2)])]);
    let removed = Owned::Removed { hashes: vec![u64::MAX - 1], tier: Tier::Gpu, group: None };
    assert_eq!(decode(&batch(vec![event])), [Ok(removed)]);
}

#[test]
fn one_event_that_cannot_be_read_costs_that_event_alone() {
    let surplus = array([Value::from("AllBlocksCleared"), Value::from(1), map(&[("x", Value::Nil)])]);
    let events = vec![
        array([Value::from("BlockMoved"), ints([1])]),
        by_position([]),
        Value::from("no event"),
        by_name(&[("block_size", Value::from("two"))]),
        Value::Array(vec![]),
        by_name(&[("ownership", array([Value::from(1)])), ("skipped_token_ids", ints([1]))]),
        surplus,
    ];
    let events = decode(&batch(events));
    assert_eq!(events[0], Err(Undecoded::UnknownTag));
    assert_eq!(stored(&events[1]).hashes, [11, 12]);
    assert_eq!((&events[2], &events[4]), (&Err(Undecoded::UnknownTag), &Err(Undecoded::UnknownTag)));
    assert_eq!(events[3], Err(Undecoded::Field("block_size")));
    assert_eq!(stored(&events[5]).parent, Some(9));
    assert_eq!(events[6], Ok(Owned::Cleared));
}

/// As of SGLang 0.5.18; read as an adapter's name, one salted event once cost its batch.
#[test]
fn sglangs_map_in_the_place_of_the_adapter_has_a_salt() {
    let rest = map(&[("cache_salt", Value::from("tenant")), ("session_id", Value::from("s"))]);
    let events = decode(&batch(vec![by_position([Value::Nil, Value::from("CPU_TIER1"), rest]), by_position([])]));
    let salted = stored(&events[0]);
    assert_eq!((salted.salt.as_deref(), salted.adapter.as_deref(), salted.tier), (Some(&b"tenant"[..]), None, Tier::Cpu));
    assert_eq!(stored(&events[1]).salt, None);
}

#[test]
fn sglangs_newer_maps_name_salt_and_adapter() {
    let rest = [("format", Value::from("dynamo")), ("cache_salt", Value::from("tenant")), ("lora_name", Value::from("sql"))];
    let events = decode(&batch(vec![by_name(&rest)]));
    let event = stored(&events[0]);
    assert_eq!((event.salt.as_deref(), event.adapter.as_deref()), (Some(&b"tenant"[..]), Some(&b"sql"[..])));
}

fn extra(blocks: [Value; 2], adapter: &str) -> Value {
    let adapter = if adapter.is_empty() { Value::Nil } else { Value::from(adapter) };
    let number = if adapter.is_nil() { Value::Nil } else { Value::from(3) };
    by_position([number, Value::from("GPU"), adapter, Value::Array(blocks.into())])
}

#[test]
fn an_adapters_name_among_extra_keys_is_no_image() {
    let blocks = [array([Value::from("sql"), Value::from("salt")]), array([Value::from("sql")])];
    let events = decode(&batch(vec![extra(blocks, "sql")]));
    let event = stored(&events[0]);
    assert_eq!(event.adapter.as_deref(), Some(&b"sql"[..]));
    assert_eq!(event.extra, [vec![b"salt".to_vec()], vec![]]);
}

#[test]
fn an_event_with_an_adapters_number_alone_has_its_name_first_among_extra_keys() {
    let blocks = Value::Array(vec![array([Value::from("sql"), Value::from("image")]), array([Value::from("sql")])]);
    let events = decode(&batch(vec![by_position([Value::from(3), Value::Nil, Value::Nil, blocks])]));
    let event = stored(&events[0]);
    assert_eq!(event.adapter.as_deref(), Some(&b"sql"[..]));
    assert_eq!(event.extra, [vec![b"image".to_vec()], vec![]]);
}

#[test]
fn images_with_and_without_offset_are_the_same_and_embeddings_are_bytes() {
    let with_offset = array([array([Value::from("image"), Value::from(-7)]), Value::Binary(vec![1, 2])]);
    let alone = array([Value::from("image"), Value::Binary(vec![1, 2])]);
    let events = decode(&batch(vec![extra([with_offset, Value::Nil], ""), extra([alone, Value::Nil], "")]));
    assert_eq!(stored(&events[0]).extra, [vec![b"image".to_vec(), vec![1, 2]], vec![]]);
    assert_eq!(events[0], events[1]);
}

#[test]
fn groups_and_kinds_are_told() {
    let window = [Value::Nil, Value::Nil, Value::Nil, Value::Nil, Value::from(2), Value::from("sliding_window"), Value::from(128)];
    let removed = array([Value::from("BlockRemoved"), ints([5]), Value::from("SSD"), Value::from(2)]);
    let events =
        decode(&batch(vec![by_position(window), by_name(&[("kv_cache_spec_kind", Value::from("mla_attention"))]), removed]));
    assert_eq!((stored(&events[0]).group, stored(&events[0]).has_full_attention), (2, false));
    assert_eq!((stored(&events[1]).group, stored(&events[1]).has_full_attention), (0, true));
    assert_eq!(events[2], Ok(Owned::Removed { hashes: vec![5], tier: Tier::Disk, group: Some(2) }));
}

#[test]
fn offload_stores_have_no_tokens_and_repeated_ones_say_so() {
    let event = by_name(&[("token_ids", ints([])), ("medium", Value::from("cpu")), ("origin", Value::from("REUSED"))]);
    let events = decode(&batch(vec![event]));
    let event = stored(&events[0]);
    assert_eq!((event.tokens.len(), event.tier, event.is_reused), (0, Tier::Cpu, true));
}

#[test]
fn tokens_that_do_not_fill_the_blocks_cost_the_event() {
    assert_eq!(decode(&batch(vec![by_name(&[("token_ids", ints([1, 2, 3]))])])), [Err(Undecoded::Field("token_ids"))]);
    assert_eq!(decode(&batch(vec![by_name(&[("token_ids", ints([1, 2, 3, 1 << 32]))])])), [Err(Undecoded::Field("token_ids"))]);
}

#[test]
fn a_batch_that_ends_early_yields_the_events_before() {
    let whole = batch(vec![by_position([]), by_position([])]);
    let events = decode(&whole[..whole.len() - 8]);
    assert_eq!(stored(&events[0]).hashes, [11, 12]);
    assert_eq!(events[1..], [Err(Undecoded::Malformed)]);
}

#[test]
fn other_values_are_no_batch() {
    for value in [Value::Nil, Value::from(1), array([Value::from(0.5)]), map(&[("ts", Value::from(0.5))])] {
        assert_eq!(Batch::new(&encode(&value)).err(), Some(MalformedBatch), "{value}");
    }
    assert!(Batch::new(&[]).is_err());
}

/// An array of 2^32 - 1 elements, nested: neither memory nor the stack grows with what is claimed.
#[test]
fn claimed_lengths_cost_nothing() {
    let claim = [0xdd, 0xff, 0xff, 0xff, 0xff].repeat(100_000);
    assert!(Batch::new(&claim).is_err());
    let batch = [&[0x92, 0xc0, 0x91, 0x92, 0xab][..], b"BlockStored", &claim].concat();
    assert_eq!(decode(&batch), [Err(Undecoded::Malformed)]);
}
