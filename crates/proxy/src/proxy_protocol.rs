//! PROXY protocol, versions 1 and 2: a load balancer's word, before all else on a connection, of who its client is.
//!
//! Source: HAProxy's `proxy-protocol.txt`. Both directions, without IO.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use pailou_snapshot::ProxyProtocolVersion;

/// Longest header of version 1, with its line end.
const MAX_V1: usize = 107;
const V1: &[u8] = b"PROXY ";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Fixed part of a header of version 2: signature, command, family, length.
const V2_FIXED: usize = 16;

/// Longest header, in bytes.
pub const MAX_HEADER: usize = V2_FIXED + u16::MAX as usize;

/// The ends of a connection that a proxy forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// The address that the client connected to.
    pub destination: SocketAddr,
}

/// Beginning of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// More bytes are needed to tell.
    Incomplete,
    /// There is no header.
    Absent,
    /// A header of this many bytes. Without ends the connection is the proxy's own, a health check for example, or of another kind.
    Header(usize, Option<Ends>),
}

/// A header that breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyProtocolError {
    /// There is none.
    #[error("no PROXY protocol header")]
    Absent,
    /// Of version 1.
    #[error("malformed PROXY protocol header, version 1")]
    Version1,
    /// Of version 2.
    #[error("malformed PROXY protocol header, version 2")]
    Version2,
    /// It did not come in time, or the connection ended within it.
    #[error("incomplete PROXY protocol header")]
    Incomplete,
}

/// Reads the beginning of a connection.
///
/// # Errors
/// It has the signature of a header, and is none.
pub fn parse(bytes: &[u8]) -> Result<Beginning, ProxyProtocolError> {
    if begins(bytes, V2) {
        return if bytes.len() < V2_FIXED { Ok(Beginning::Incomplete) } else { version2(bytes) };
    }
    if begins(bytes, V1) {
        return version1(bytes);
    }
    Ok(Beginning::Absent)
}

/// Whether bytes begin with a signature, as far as they go.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(one, other)| one == other)
}

fn version1(bytes: &[u8]) -> Result<Beginning, ProxyProtocolError> {
    let seen = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if seen.len() < MAX_V1 { Ok(Beginning::Incomplete) } else { Err(ProxyProtocolError::Version1) };
    };
    let fields = str::from_utf8(&seen[V1.len()..end]).map_err(|_| ProxyProtocolError::Version1)?;
    let ends = match *fields.split(' ').collect::<Vec<_>>() {
        ["UNKNOWN", ..] => None,
        [family @ ("TCP4" | "TCP6"), source, destination, source_port, destination_port] => {
            let end = |ip: &str, port: &str| {
                let ip: IpAddr = ip.parse().ok().filter(|ip: &IpAddr| ip.is_ipv4() == (family == "TCP4"))?;
                // No sign, no leading zeros.
                let is_number = port.bytes().all(|byte| byte.is_ascii_digit()) && (port == "0" || !port.starts_with('0'));
                Some(SocketAddr::new(ip, port.parse().ok().filter(|_| is_number)?))
            };
            let ends = end(source, source_port).zip(end(destination, destination_port));
            let (source, destination) = ends.ok_or(ProxyProtocolError::Version1)?;
            Some(Ends { source, destination })
        }
        _ => return Err(ProxyProtocolError::Version1),
    };
    Ok(Beginning::Header(end + 2, ends))
}

/// A header whose fixed part is there.
fn version2(bytes: &[u8]) -> Result<Beginning, ProxyProtocolError> {
    let (command, family) = (bytes[12], bytes[13]);
    let length = V2_FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if !matches!(command, 0x20 | 0x21) {
        return Err(ProxyProtocolError::Version2);
    }
    let Some(addresses) = bytes.get(V2_FIXED..length) else { return Ok(Beginning::Incomplete) };
    // Extensions may follow the addresses.
    let ends = match (command, family) {
        (0x21, 0x11) => Some(v4(addresses).ok_or(ProxyProtocolError::Version2)?),
        (0x21, 0x21) => Some(v6(addresses).ok_or(ProxyProtocolError::Version2)?),
        // LOCAL, or a family without addresses of ours.
        _ => None,
    };
    Ok(Beginning::Header(length, ends))
}

fn v4(addresses: &[u8]) -> Option<Ends> {
    let (source, rest) = addresses.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    Some(with_ports(Ipv4Addr::from(*source).into(), Ipv4Addr::from(*destination).into(), rest.first_chunk()?))
}

fn v6(addresses: &[u8]) -> Option<Ends> {
    let (source, rest) = addresses.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    Some(with_ports(Ipv6Addr::from(*source).into(), Ipv6Addr::from(*destination).into(), rest.first_chunk()?))
}

fn with_ports(source: IpAddr, destination: IpAddr, &[a, b, c, d]: &[u8; 4]) -> Ends {
    Ends {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

/// A header. Without ends it says that the connection is the proxy's own. Ends of two families are written as IPv6.
pub fn header(version: ProxyProtocolVersion, ends: Option<Ends>) -> Vec<u8> {
    let ends = ends.map(|ends| {
        let ips = [ends.source, ends.destination].map(|end| end.ip().to_canonical());
        let [source, destination] = if ips[0].is_ipv4() == ips[1].is_ipv4() { ips } else { ips.map(mapped) };
        Ends {
            source: SocketAddr::new(source, ends.source.port()),
            destination: SocketAddr::new(destination, ends.destination.port()),
        }
    });
    match version {
        ProxyProtocolVersion::V1 => header1(ends),
        ProxyProtocolVersion::V2 => header2(ends),
    }
}

fn mapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().into(),
        ip @ IpAddr::V6(_) => ip,
    }
}

fn header1(ends: Option<Ends>) -> Vec<u8> {
    let Some(Ends { source, destination }) = ends else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port()).into_bytes()
}

fn header2(ends: Option<Ends>) -> Vec<u8> {
    let mut out = V2.to_vec();
    let Some(Ends { source, destination }) = ends else {
        out.extend([0x20, 0, 0, 0]);
        return out;
    };
    let (family, length) = if source.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
    out.extend([0x21, family, 0, length]);
    for end in [source, destination] {
        match end.ip() {
            IpAddr::V4(ip) => out.extend(ip.octets()),
            IpAddr::V6(ip) => out.extend(ip.octets()),
        }
    }
    out.extend(source.port().to_be_bytes());
    out.extend(destination.port().to_be_bytes());
    out
}

#[cfg(test)]
mod tests;
