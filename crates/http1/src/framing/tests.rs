use proptest::prelude::*;

use super::*;

/// All that a body of these bytes yields, read in parts cut at `cuts`: its data, its trailers, whether it is over, what is left unread.
fn read(mut framing: Framing, bytes: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, HeaderMap, bool, usize), Malformed> {
    let (mut buffer, mut data, mut trailers, mut from) = (BytesMut::new(), Vec::new(), HeaderMap::new(), 0);
    for &to in cuts.iter().chain([&bytes.len()]) {
        buffer.extend_from_slice(&bytes[from..to]);
        from = to;
        while let Some(frame) = framing.take(&mut buffer)? {
            match frame.into_data() {
                Ok(part) => data.extend_from_slice(&part),
                Err(frame) => trailers = frame.into_trailers().unwrap(),
            }
        }
    }
    Ok((data, trailers, framing.is_over(), buffer.len()))
}

#[test]
fn a_body_ends_where_it_says_and_leaves_what_follows() {
    let (data, _, is_over, left) = read(Framing::Length(3), b"abcde", &[]).unwrap();
    assert_eq!((&data[..], is_over, left), (&b"abc"[..], true, 2));
    let (data, _, is_over, left) = read(Framing::UntilClose, b"abcde", &[2]).unwrap();
    assert_eq!((&data[..], is_over, left), (&b"abcde"[..], false, 0));
}

#[test]
fn chunks_extensions_and_trailers_are_read_wherever_they_are_cut() {
    let bytes = b"5;a=\"b\"\r\nhello\r\n00A \r\n, world...\r\n0\r\nx-sum: 7\r\ncontent-length: 9\r\n\r\nHTTP";
    for cut in 0..bytes.len() {
        let (data, trailers, is_over, left) = read(Framing::chunked(), bytes, &[cut]).unwrap();
        assert_eq!((&data[..], is_over, left), (&b"hello, world..."[..], true, 4), "cut at {cut}");
        // A field that would frame the message is no trailer.
        assert_eq!((trailers.len(), trailers["x-sum"].as_bytes()), (1, &b"7"[..]));
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    for bytes in [
        "\r\n",
        ";a\r\n",
        "g\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        "1\n",
        "1\r\nab\r\n",
        "1\r\na\n\n",
        "1 1\r\n",
        "11111111111111111\r\n",
        " 1\r\na\r\n",
        "1\r\r\na\r\n",
        "1\r;a\r\na\r\n",
        "1;a\rb\r\na\r\n",
        "0\r\nx y: 1\r\n\r\n",
        "0\r\n\n",
        "0\r\n\r\r\n",
        "0\r\nx: 1\n\r\n",
        "0\r\nx: 1\r\n\n",
    ] {
        assert!(read(Framing::chunked(), bytes.as_bytes(), &[]).is_err(), "{bytes:?}");
    }
    let endless = [b"1;".as_slice(), &[b'a'; 2 * MAX_SIZE_LINE]].concat();
    assert!(read(Framing::chunked(), &endless, &[]).is_err());
    let endless = [b"0\r\nx: ".as_slice(), &[b'a'; 2 * MAX_TRAILERS]].concat();
    assert!(read(Framing::chunked(), &endless, &[]).is_err());
}

proptest! {
    #[test]
    fn any_chunks_come_back(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6), cuts in any::<[prop::sample::Index; 4]>()) {
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        let mut cuts = cuts.map(|cut| cut.index(bytes.len()));
        cuts.sort_unstable();
        let (data, _, is_over, left) = read(Framing::chunked(), &bytes, &cuts).unwrap();
        prop_assert_eq!((data, is_over, left), (chunks.concat(), true, 0));
    }
}
