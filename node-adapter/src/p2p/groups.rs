//! Which addresses are likely to be in one hand, and which lie on the public internet.
//!
//! Source: `GetGroup` in Bitcoin Core's `src/netgroup.cpp`, `IsRoutable` in `src/netaddress.cpp`; RFC 6890.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that one operator or provider is likely to have many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Group {
    /// A /16 of the public internet.
    V4([u8; 2]),
    /// A /32 of the public internet.
    V6([u8; 4]),
    /// An address that only machines nearby can reach: a group of its own.
    Local(IpAddr),
}

impl Group {
    /// The group of an address.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        match address {
            _ if !is_public(address) => Self::Local(address),
            IpAddr::V4(address) => {
                let [a, b, ..] = address.octets();
                Self::V4([a, b])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.octets();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// Whether an address means the same machine everywhere.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let is_shared = a == 100 && b & 0xc0 == 64;
    let is_benchmark = a == 198 && b & 0xfe == 18;
    !(a == 0
        || a >= 224
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_documentation()
        || is_shared
        || is_benchmark)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // 2000::/3 is all that is given out; in it are documentation and names without a place (ORCHID).
    let is_unicast = a & 0xe000 == 0x2000;
    let is_documentation = a == 0x2001 && b == 0x0db8;
    let is_orchid = a == 0x2001 && matches!(b & 0xfff0, 0x0010 | 0x0020);
    is_unicast && !is_documentation && !is_orchid
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn neighbours_are_one_group_and_others_are_not() {
        let group = |text| Group::of(address(text));
        assert_eq!(group("8.8.8.8"), group("8.8.255.1"));
        assert_eq!(group("8.8.8.8"), group("::ffff:8.8.1.1"));
        assert_ne!(group("8.8.8.8"), group("8.9.8.8"));
        assert_eq!(group("2a00:1450:1::1"), group("2a00:1450:ffff::2"));
        assert_ne!(group("2a00:1450::1"), group("2a00:1451::1"));
        assert_ne!(group("10.0.0.1"), group("10.0.0.2"), "nobody has all private addresses");
    }

    #[test]
    fn addresses_that_mean_another_machine_elsewhere_are_not_public() {
        for local in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.31.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.0.1",
            "0.1.2.3",
            "198.19.0.1",
            "192.0.2.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "2001:20::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!is_public(address(local)), "{local}");
        }
        for public in ["8.8.8.8", "100.63.0.1", "100.128.0.1", "172.32.0.1", "2a00::1", "2001:4860::1"] {
            assert!(is_public(address(public)), "{public}");
        }
    }
}
