use proptest::{collection::vec, prelude::*};

use super::*;

/// Greeting and READY of a publisher.
fn opened(mechanism: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1];
    bytes.extend(mechanism);
    bytes.resize(GREETING_BYTES, 0);
    bytes.extend(b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03PUB");
    bytes
}

fn message(frames: &[&[u8]]) -> Vec<u8> {
    let last = frames.len() - 1;
    let frame = |(at, frame): (usize, &&[u8])| {
        let more = u8::from(at < last);
        let head = match u8::try_from(frame.len()) {
            Ok(length) => vec![more, length],
            Err(_) => [&[more | 2][..], &(frame.len() as u64).to_be_bytes()].concat(),
        };
        [head, frame.to_vec()].concat()
    };
    frames.iter().enumerate().flat_map(frame).collect()
}

fn read(pieces: &[&[u8]]) -> Result<Vec<ZmtpEvent>, ZmtpError> {
    let (mut reader, mut events) = (ZmtpReader::default(), Vec::new());
    for piece in pieces {
        reader.buffer().extend_from_slice(piece);
        while let Some(event) = reader.next_event()? {
            events.push(event);
        }
    }
    Ok(events)
}

fn frames(frames: &[&[u8]]) -> Vec<Bytes> {
    frames.iter().map(|frame| Bytes::copy_from_slice(frame)).collect()
}

#[test]
fn a_connection_opens_and_gets_messages() {
    let long = [7; 300];
    let ping = b"\x04\x07\x04PING\x00\x01";
    let stream = [opened(b"NULL"), message(&[b"topic", b"", &long]), ping.to_vec(), message(&[b"x"])].concat();
    let expected = [ZmtpEvent::Ready, ZmtpEvent::Message(frames(&[b"topic", b"", &long])), ZmtpEvent::Message(frames(&[b"x"]))];
    assert_eq!(read(&[&stream]).expect("events"), expected);
    let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(read(&bytewise).expect("events"), expected);
}

#[test]
fn the_first_bytes_are_a_greeting_and_ready() {
    let sockets = [(ZmtpSocket::Subscriber, &b"SUB"[..]), (ZmtpSocket::Dealer, b"DEALER")];
    for (socket, name) in sockets.into_iter().chain([(ZmtpSocket::Publisher, &b"PUB"[..]), (ZmtpSocket::Router, b"ROUTER")]) {
        let bytes = open_connection(socket);
        assert_eq!((bytes[64], usize::from(bytes[65])), (4, bytes.len() - 66));
        assert!(bytes.ends_with(name));
        assert_eq!(read(&[&bytes]).expect("a greeting"), [ZmtpEvent::Ready]);
    }
}

#[test]
fn a_publisher_that_wants_another_mechanism_is_told_from_one_that_is_none() {
    assert_eq!(read(&[&opened(b"CURVE")]), Err(ZmtpError::Mechanism));
    assert_eq!(read(&[&opened(b"NULLS")]), Err(ZmtpError::Mechanism));
    assert_eq!(read(&[&[b'H'; 64]]), Err(ZmtpError::Greeting));
    let refused = [&opened(b"NULL")[..64], b"\x04\x0a\x05ERROR\x03who"].concat();
    assert_eq!(read(&[&refused]), Err(ZmtpError::Refused));
}

#[test]
fn messages_are_bounded_before_their_bytes_come() {
    let opened = opened(b"NULL");
    let long = [&opened[..], b"\x02\x00\x00\x00\x00\x01\x00\x00\x01"].concat();
    assert_eq!(read(&[&long]), Err(ZmtpError::Frame));
    let huge = [&opened[..], b"\x02\xff\xff\xff\xff\xff\xff\xff\xff"].concat();
    assert_eq!(read(&[&huge]), Err(ZmtpError::Frame));
    let many = [opened, message(&[&[][..]; 9])].concat();
    assert_eq!(read(&[&many]), Err(ZmtpError::Frame));
}

/// Payloads that shared their buffers kept 64 KiB each, or a topic of any length, while only their own bytes were counted.
#[test]
fn a_batch_that_waits_keeps_only_its_own_bytes() {
    let number = 7_u64.to_be_bytes();
    let buffer = Bytes::from([&number[..], b"batch"].concat());
    let (number, payload) = (buffer.slice(..8), buffer.slice(8..));
    let live = Publication::new(&[Bytes::new(), number.clone(), payload.clone()]);
    let replayed = ReplayMessage::new(&[Bytes::new(), number, payload]);
    assert!(live.is_some() && replayed.is_some());
    assert!(buffer.is_unique());
}

#[test]
fn batches_and_replays_of_old_and_new_engines_are_read() {
    let number = 7_u64.to_be_bytes();
    let batch = Publication { number: 7, payload: Bytes::from_static(b"batch") };
    assert_eq!(Publication::new(&frames(&[b"kv@pod@model", &number, b"batch"])), Some(batch.clone()));
    assert_eq!(Publication::new(&frames(&[&number, b"batch"])), None);
    for replay in [frames(&[b"", &number, b"batch"]), frames(&[b"", b"topic", &number, b"batch"])] {
        assert_eq!(ReplayMessage::new(&replay), Some(ReplayMessage::Batch(batch.clone())));
    }
    let end = [0xff; 8];
    for last in [frames(&[b"", &end, b""]), frames(&[b"", b"", &end, b""])] {
        assert_eq!(ReplayMessage::new(&last), Some(ReplayMessage::End));
    }
    assert_eq!(ReplayMessage::new(&frames(&[b"no delimiter", &number, b"batch"])), None);
    assert_eq!(ReplayMessage::new(&frames(&[b"", b"short", b"batch"])), None);
}

#[test]
fn a_publisher_understands_a_subscriber_and_is_understood() {
    let asked = [&open_connection(ZmtpSocket::Subscriber)[..], &subscribe_to_all(), &ask_for_replay(258)].concat();
    let [ZmtpEvent::Ready, ZmtpEvent::Message(subscription), ZmtpEvent::Message(question)] = &read(&[&asked]).expect("events")[..]
    else {
        panic!("not a subscription and a question")
    };
    assert_eq!(Subscription::new(subscription), Some(Subscription::Begin(Bytes::new())));
    assert_eq!(Subscription::new(&frames(&[b"\0kv@"])), Some(Subscription::End(Bytes::from_static(b"kv@"))));
    assert_eq!((replay_start(question), replay_start(subscription)), (Some(258), None));
    let payload = [3; 300];
    let answer = [&opened(b"NULL")[..], &publish(b"kv@pod", 7, &payload), &replay(b"", 8, b"batch"), &end_replay()].concat();
    let [_, ZmtpEvent::Message(live), ZmtpEvent::Message(again), ZmtpEvent::Message(end)] = &read(&[&answer]).expect("events")[..]
    else {
        panic!("not a batch, a replay and its end")
    };
    assert_eq!(Publication::new(live), Some(Publication { number: 7, payload: Bytes::copy_from_slice(&payload) }));
    let batch = Publication { number: 8, payload: Bytes::from_static(b"batch") };
    assert_eq!(ReplayMessage::new(again), Some(ReplayMessage::Batch(batch)));
    assert_eq!(ReplayMessage::new(end), Some(ReplayMessage::End));
}

proptest! {
    #[test]
    fn bytes_that_come_in_pieces_are_the_same(stream in vec(any::<u8>(), 0..200), cuts in vec(1..40_usize, 0..20)) {
        let stream = [opened(b"NULL"), stream].concat();
        let (mut pieces, mut rest) = (Vec::new(), &stream[..]);
        for cut in cuts {
            let (piece, tail) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        pieces.push(rest);
        prop_assert_eq!(read(&pieces), read(&[&stream]));
    }
}
