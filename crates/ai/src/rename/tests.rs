use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Feeds a text cut at these places.
fn rename(text: &str, events: bool, cuts: &[usize]) -> String {
    let mut rename = ModelRename::new("engine\"1", "public/ü", events);
    let text = Bytes::copy_from_slice(text.as_bytes());
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    cuts.sort_unstable();
    let (mut out, mut from) = (Vec::new(), 0);
    for to in cuts.into_iter().chain([text.len()]) {
        out.extend_from_slice(&rename.feed(&text.slice(from..to), false));
        from = to;
    }
    out.extend_from_slice(&rename.finish());
    String::from_utf8(out).unwrap()
}

/// The same, by a reader that builds the document.
fn expected(mut value: Value) -> Value {
    fn change(value: Option<&mut Value>) {
        if let Some(Value::String(model)) = value.and_then(|value| value.as_object_mut()?.get_mut("model"))
            && *model == "engine\"1"
        {
            *model = "public/ü".to_owned();
        }
    }
    change(Some(&mut value));
    change(value.get_mut("response"));
    change(value.get_mut("message"));
    value
}

fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        Just("engine\"1".to_owned()),
        Just("model".to_owned()),
        Just("\"model\":\"engine\\\"1\"".to_owned()),
        ".{0,12}"
    ];
    let leaf = prop_oneof![text.prop_map(Value::from), any::<i32>().prop_map(Value::from), Just(Value::Null)];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop_oneof![Just("model"), Just("response"), Just("message"), Just("models"), Just("mode"), Just("a\"b")];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.prop_map(str::to_owned), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_model_of_a_document_is_renamed_and_nothing_else(value in value(), pretty: bool, cuts in prop::collection::vec(0..2_000_usize, 0..6)) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let renamed = rename(&text, false, &cuts);
        prop_assert_eq!(serde_json::from_str::<Value>(&renamed).unwrap(), expected(value));
    }

    #[test]
    fn each_event_of_a_stream_is_renamed(values in prop::collection::vec(value(), 1..4), cuts in prop::collection::vec(0..2_000_usize, 0..6)) {
        let event = |value: &Value| format!(": a comment with \"model\":\"engine\\\"1\"\r\nevent: x\ndata: {value}\r\n\n");
        let text: String = values.iter().map(event).chain(["data: [DONE]\n\n".to_owned()]).collect();
        let wanted: String = values.into_iter().map(|value| event(&expected(value))).chain(["data: [DONE]\n\n".to_owned()]).collect();
        prop_assert_eq!(rename(&text, true, &cuts), wanted);
    }

    #[test]
    fn bytes_that_are_no_document_pass_as_they_are(text in "[^e]{0,200}", events: bool, cuts in prop::collection::vec(0..2_000_usize, 0..6)) {
        let mut rename = ModelRename::new("engine", "public", events);
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let mut out = Vec::new();
        let mut from = 0;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.sort_unstable();
        for to in cuts.into_iter().chain([bytes.len()]) {
            out.extend_from_slice(&rename.feed(&bytes.slice(from..to), false));
            from = to;
        }
        out.extend_from_slice(&rename.finish());
        prop_assert_eq!(out, text.into_bytes());
    }
}

#[test]
fn a_piece_without_the_name_is_passed_on_without_a_copy() {
    let mut rename = ModelRename::new("engine", "public", true);
    let piece = Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"engine\"}}]}\n\n");
    assert_eq!(rename.feed(&piece, false).as_ptr(), piece.as_ptr());
}

#[test]
fn a_long_value_does_not_wait() {
    let text = json!({"model": "x".repeat(5000), "message": {"model": "engine\"1"}}).to_string();
    assert_eq!(rename(&text, false, &[]), text.replace("engine\\\"1", "public/ü"));
    let mut rename = ModelRename::new("engine", "public", false);
    rename.feed(&Bytes::from_static(b"{\"model\":\""), false);
    let long = Bytes::from("x".repeat(2000));
    assert_eq!(rename.feed(&long, false).len(), 2001);
}

#[test]
fn a_value_without_an_end_waits_no_longer_than_its_line() {
    let mut rename = ModelRename::new("engine", "public", true);
    assert_eq!(rename.feed(&Bytes::from_static(b"data: {\"model\":\"eng"), false), "data: {\"model\":");
    assert_eq!(rename.feed(&Bytes::from_static(b"\n"), false), "\"eng\n");
    for _ in 0..5000 {
        assert_eq!(rename.feed(&Bytes::from_static(b":"), false), ":");
    }
    assert_eq!(rename.feed(&Bytes::from_static(b"\ndata: {\"model\":\"engine\"}\n"), false), "\ndata: {\"model\":\"public\"}\n");
    assert_eq!(rename.finish(), "");
}
