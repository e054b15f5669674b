//! Beginning of a connection: what a part of it decides, the rest does not change; and a header that is read is written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pailou_proxy::proxy_protocol::{Beginning, Ends, MAX_HEADER, header, parse};
use pailou_snapshot::ProxyProtocolVersion;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    // Beyond these the rest of a long header is addresses and extensions.
    for length in (0..bytes.len()).take(256) {
        let part = parse(&bytes[..length]);
        assert!(part == Ok(Beginning::Incomplete) || part == whole, "{length}: {part:?}, {whole:?}");
    }
    let Ok(Beginning::Header(length, ends)) = whole else { return };
    assert!(length <= MAX_HEADER && length <= bytes.len());
    assert_eq!(parse(&bytes[..length]), whole);
    for version in [ProxyProtocolVersion::V1, ProxyProtocolVersion::V2] {
        let written = header(version, ends);
        let Ok(Beginning::Header(length, again)) = parse(&written) else { panic!("{written:?}") };
        assert_eq!((length, again.map(canonical)), (written.len(), ends.map(canonical)));
    }
});

/// Addresses and ports, IPv4 as such.
fn canonical(ends: Ends) -> [(std::net::IpAddr, u16); 2] {
    [ends.source, ends.destination].map(|end| (end.ip().to_canonical(), end.port()))
}
