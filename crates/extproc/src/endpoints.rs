//! How endpoints are written: `ip:port[,ip:port…]`, IPv6 addresses in brackets.

use std::net::{IpAddr, SocketAddr};

/// The most endpoints that are read of a list.
pub const MAX_ENDPOINTS: usize = 64;

/// A list of endpoints in the order in which they are to be tried, at most [`MAX_ENDPOINTS`].
///
/// # Errors
/// The first entry that is no endpoint. An empty list is one.
pub fn parse(list: &str) -> Result<Vec<SocketAddr>, NotAnEndpoint> {
    entries(list).map(|entry| entry.parse().map_err(|_| NotAnEndpoint(entry.chars().take(100).collect()))).collect()
}

/// An entry of a list that is no `ip:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an endpoint (ip:port)")]
pub struct NotAnEndpoint(String);

/// The endpoints that may be chosen from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subset(Vec<Member>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Address(IpAddr),
    Endpoint(SocketAddr),
}

impl Subset {
    /// Reads lists of `ip` and `ip:port`. Entries that are neither are no endpoints, and let nothing in.
    pub fn parse<'a>(lists: impl IntoIterator<Item = &'a str>) -> Self {
        let member = |entry: &str| {
            let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
            entry.parse().map(Member::Endpoint).or_else(|_| bare.parse().map(Member::Address)).ok()
        };
        Self(lists.into_iter().flat_map(entries).filter_map(member).collect())
    }

    /// Whether an endpoint is among them. An entry without a port stands for all ports.
    pub fn contains(&self, endpoint: SocketAddr) -> bool {
        self.0.iter().any(|member| match member {
            Member::Address(address) => *address == endpoint.ip(),
            Member::Endpoint(one) => *one == endpoint,
        })
    }
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).take(MAX_ENDPOINTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_in_order() {
        let endpoints = parse("10.0.0.1:8000, [fd00::1]:8001,,10.0.0.2:1").unwrap();
        let expected = ["10.0.0.1:8000", "[fd00::1]:8001", "10.0.0.2:1"].map(|it| it.parse().unwrap());
        assert_eq!(endpoints, expected);
        assert_eq!(parse(""), Ok(vec![]));
        assert!(parse("10.0.0.1").is_err());
        assert!(parse("10.0.0.1:8000,backend:80").is_err());
    }

    #[test]
    fn subset_tells_ports_apart_where_it_names_them() {
        let subset = Subset::parse(["10.0.0.1:8000,10.0.0.2", "[fd00::1]", "fd00::2,junk"]);
        let contains = |endpoint: &str| subset.contains(endpoint.parse().unwrap());
        assert!(contains("10.0.0.1:8000") && !contains("10.0.0.1:8001"));
        assert!(contains("10.0.0.2:1") && contains("10.0.0.2:2"));
        assert!(contains("[fd00::1]:1") && contains("[fd00::2]:1"));
        assert!(!contains("10.0.0.3:8000"));
        assert!(!Subset::parse(["junk"]).contains("10.0.0.1:1".parse().unwrap()));
    }
}
