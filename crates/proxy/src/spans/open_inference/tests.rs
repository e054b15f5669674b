use super::*;

fn message(number: usize, calls: usize) -> Message {
    let mut message = Message { role: "user".to_owned(), ..Message::default() };
    message.parts.push(Part::Text { is_reasoning: false, content: number.to_string() });
    let call = Part::ToolCall { id: "i".to_owned(), name: "f".to_owned(), arguments: "{}".to_owned() };
    message.parts.extend(std::iter::repeat_n(call, calls));
    message
}

fn texts(pairs: &[(String, String)]) -> Vec<&str> {
    pairs.iter().filter(|(key, _)| key.ends_with(".content")).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn the_newest_messages_are_told_one_by_one_after_instructions() {
    let instructions = [Part::Text { is_reasoning: false, content: "kind".to_owned() }];
    let messages: Vec<_> = (0..40).map(|number| message(number, 0)).collect();
    let pairs = side_of("input", &instructions, &messages, 80);
    let told = texts(&pairs);
    assert_eq!((told[0], told[1], *told.last().unwrap(), told.len()), ("kind", "25", "39", MAX_MESSAGES));
    assert!(pairs.iter().any(|(key, value)| key == "llm.input_messages.15.message.content" && value == "39"));
}

#[test]
fn a_side_has_no_more_attributes_than_there_is_room_for() {
    // Each has 8 attributes: 4 have room beside the 2 of the whole.
    let messages: Vec<_> = (0..9).map(|number| message(number, 2)).collect();
    let pairs = side_of("input", &[], &messages, 40);
    assert_eq!((texts(&pairs), pairs.len()), (vec!["5", "6", "7", "8"], 34));
    let pairs = side_of("output", &[], &[message(1, 100)], 40);
    assert_eq!((texts(&pairs), pairs.len()), (vec!["1"], 40));
    assert_eq!(side_of("output", &[], &[], 40), []);
}
