//! Addresses of the machine itself and of its link, which URLs of policies must not lead to where others than the operator write policies:
//! there are admin endpoints, and the services by which clouds give machines their credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a connection may lead to such an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LocalAddresses {
    /// It may.
    #[default]
    Allowed,
    /// It must not.
    Refused,
}

/// Metadata services of clouds that are not on the link.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

impl LocalAddresses {
    /// Whether a connection may lead to an address.
    pub(crate) fn permits(self, address: IpAddr) -> bool {
        self == Self::Allowed || !is_local(address)
    }
}

fn is_local(address: IpAddr) -> bool {
    let address = embedded(address).map_or(address.to_canonical(), IpAddr::V4);
    METADATA.contains(&address)
        || match address {
            IpAddr::V4(address) => address.is_loopback() || address.is_link_local() || address.octets()[0] == 0,
            IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified(),
        }
}

/// The IPv4 address that a translator makes of an IPv6 address (RFC 6052, `64:ff9b::/96`; RFC 4291, `::a.b.c.d`).
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let bits = address.to_bits();
    let (prefix, low) = (bits >> 32, u32::try_from(bits & u128::from(u32::MAX)).ok()?);
    (prefix == 0x0064_ff9b << 64 || prefix == 0 && low > 1).then(|| Ipv4Addr::from_bits(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_and_its_link_are_local_in_every_form() {
        let local = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "::1",
            "::",
            "fe80::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "::127.0.0.1",
            "fd00:ec2::254",
            "100.100.100.200",
        ];
        for address in local {
            let address = address.parse().unwrap();
            assert!(!LocalAddresses::Refused.permits(address) && LocalAddresses::Allowed.permits(address), "{address}");
        }
        for address in ["10.0.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "fd00::1", "2001:db8::1", "64:ff9b::808:808"] {
            assert!(LocalAddresses::Refused.permits(address.parse().unwrap()), "{address}");
        }
    }
}
