use pailou_snapshot::{Name, RouteKind};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn line(members: impl FnMut(&mut Line<'_>)) -> Value {
    let mut out = b"before".to_vec();
    append(&mut out, members);
    serde_json::from_slice(out.strip_prefix(b"before").unwrap()).unwrap()
}

#[test]
fn durations_are_milliseconds_with_three_digits() {
    let mut out = Vec::new();
    let mut line = Line { out: &mut out, escapes: false, quotes: 0 };
    for micros in [0, 7, 1_050, 12_345_678] {
        line.milliseconds(key!("t"), Some(Duration::from_micros(micros)));
    }
    line.milliseconds(key!("t"), None);
    assert_eq!(String::from_utf8(out).unwrap(), r#","t":0.000,"t":0.007,"t":1.050,"t":12345.678"#);
}

#[test]
fn times_are_in_utc_to_the_microsecond() {
    let mut second = Second::default();
    for (micros, expected) in [
        (1_700_000_000_000_000, "2023-11-14T22:13:20.000000Z"),
        (1_700_000_000_012_345, "2023-11-14T22:13:20.012345Z"),
        (1_700_000_001_999_999, "2023-11-14T22:13:21.999999Z"),
        (0, "1970-01-01T00:00:00.000000Z"),
    ] {
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(micros);
        assert_eq!(line(|line| line.time(key!("t"), &mut second, time))["t"], expected);
    }
}

#[test]
fn names_are_written_as_they_show_themselves() {
    let name = Name::new("ns", "a");
    for set in [None, Some(Name::new("other", "set"))] {
        let listener = ListenerName { gateway: name.clone(), set, section: "https".into() };
        assert_eq!(line(|line| line.listener(&listener))["listener"], listener.to_string());
    }
    for rule_name in [None, Some("chat".into())] {
        let route = RouteName { kind: RouteKind::Http, name: name.clone(), rule: 12, rule_name };
        assert_eq!(line(|line| line.route(&route))["route"], route.to_string());
    }
    for key in [EndpointKey::Service(name.clone(), 80), EndpointKey::Backend(name.clone()), EndpointKey::Pool(name)] {
        assert_eq!(line(|line| line.backend(&key))["backend"], key.to_string());
    }
}

#[test]
fn addresses_are_written_as_everywhere() {
    for address in ["10.0.255.1:65535", "[2001:db8::1]:80"] {
        assert_eq!(line(|line| line.address(key!("a"), address.parse().unwrap()))["a"], address);
    }
}

proptest! {
    #[test]
    fn any_text_comes_back_from_its_line(text in any::<String>()) {
        let value = line(|line| {
            line.text(key!("text"), &text);
            line.shown(key!("shown"), &text);
        });
        prop_assert_eq!(&value["text"], &text);
        prop_assert_eq!(&value["shown"], &text);
    }

    #[test]
    fn no_text_breaks_a_line_or_moves_a_terminal(text in "[\\x00-\\x7f\\u{80}-\\u{c0}]*") {
        let mut out = Vec::new();
        append(&mut out, |line| line.text(key!("text"), &text));
        let line = String::from_utf8(out).unwrap();
        prop_assert!(line.trim_end_matches('\n').chars().all(|character| !character.is_control()), "{line:?}");
    }
}
