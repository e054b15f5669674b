use proptest::prelude::*;

use super::*;

fn ends(source: &str, destination: &str) -> Ends {
    Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

#[test]
fn version_1_is_read() {
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", Some(ends("192.0.2.1:56324", "198.51.100.2:443"))),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", Some(ends("[2001:db8::1]:1", "[2001:db8::2]:65535"))),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    ] {
        assert_eq!(parse(format!("{line}GET / ").as_bytes()), Ok(Beginning::Header(line.len(), expected)), "{line}");
    }
}

#[test]
fn version_1_is_read_strictly() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
        "PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536\r\n",
        "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n",
        "PROXY \u{ff}\r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(ProxyProtocolError::Version1), "{line}");
    }
    assert_eq!(parse(format!("PROXY UNKNOWN {}", "x".repeat(100)).as_bytes()), Err(ProxyProtocolError::Version1));
}

#[test]
fn version_2_is_read_with_its_extensions() {
    let expected = ends("192.0.2.1:56324", "198.51.100.2:443");
    let mut header = header(ProxyProtocolVersion::V2, Some(expected));
    let plain = header.len();
    assert_eq!(plain, 28);
    header[15] += 7;
    header.extend(b"\x04\0\x04abcdGET / ");
    assert_eq!(parse(&header), Ok(Beginning::Header(plain + 7, Some(expected))));
    // LOCAL: the proxy's own, whatever follows.
    header[12] = 0x20;
    assert_eq!(parse(&header), Ok(Beginning::Header(plain + 7, None)));
    header[12] = 0x31;
    assert_eq!(parse(&header), Err(ProxyProtocolError::Version2));
    let short = [V2, &[0x21, 0x11, 0, 11], &[0; 11]].concat();
    assert_eq!(parse(&short), Err(ProxyProtocolError::Version2), "addresses that are not there");
    let unix = [V2, &[0x21, 0x31, 0, 2], &[0; 2]].concat();
    assert_eq!(parse(&unix), Ok(Beginning::Header(18, None)));
}

#[test]
fn requests_and_other_protocols_have_no_header() {
    for bytes in ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n", "POST", "PROXX", "\r\n\r\nGET", "\u{16}\u{3}\u{1}"] {
        assert_eq!(parse(bytes.as_bytes()), Ok(Beginning::Absent), "{bytes}");
    }
    for bytes in ["", "P", "PROX", "PROXY TCP4 1", "\r\n\r\n"] {
        assert_eq!(parse(bytes.as_bytes()), Ok(Beginning::Incomplete), "{bytes}");
    }
}

#[test]
fn ends_of_two_families_are_written_as_one() {
    let ends = Some(ends("[::ffff:192.0.2.1]:1", "[2001:db8::2]:2"));
    assert_eq!(header(ProxyProtocolVersion::V1, ends), b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n");
    assert_eq!(header(ProxyProtocolVersion::V2, ends).len(), 16 + 36);
    assert_eq!(header(ProxyProtocolVersion::V1, None), b"PROXY UNKNOWN\r\n");
    assert_eq!(header(ProxyProtocolVersion::V2, None).len(), 16);
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        v6 in any::<bool>(), ips in any::<[u128; 2]>(), ports in any::<[u16; 2]>(), is_v1 in any::<bool>(), rest in any::<Vec<u8>>(),
    ) {
        let ip = |bits: u128| if v6 { IpAddr::V6(bits.into()) } else { IpAddr::V4((bits as u32).into()) };
        let version = if is_v1 { ProxyProtocolVersion::V1 } else { ProxyProtocolVersion::V2 };
        let canonical = |bits| ip(bits).to_canonical();
        prop_assume!(canonical(ips[0]).is_ipv4() == canonical(ips[1]).is_ipv4());
        let ends = Ends {
            source: SocketAddr::new(canonical(ips[0]), ports[0]),
            destination: SocketAddr::new(canonical(ips[1]), ports[1]),
        };
        let header = header(version, Some(ends));
        prop_assert_eq!(parse(&[&*header, &rest].concat()), Ok(Beginning::Header(header.len(), Some(ends))));
        for length in 0..header.len() {
            prop_assert_eq!(parse(&header[..length]), Ok(Beginning::Incomplete));
        }
    }

    #[test]
    fn no_bytes_break_it(signature in 0..3_usize, bytes in any::<Vec<u8>>()) {
        let bytes = [[&b""[..], V1, V2][signature], &*bytes].concat();
        if let Ok(Beginning::Header(length, _)) = parse(&bytes) {
            prop_assert!(length <= bytes.len() && length <= MAX_HEADER);
        }
    }
}
