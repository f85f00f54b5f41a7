//! [`Range`]: the address ranges that are not the open internet.
//!
//! The table comes from IANA's special-purpose address registries (IPv4 and IPv6, RFC 6890 and its
//! updates), the multicast registries, and the addresses where the large clouds give out credentials. The
//! first line that holds an address counts.
//!
//! | range | IPv4 | IPv6 | from | `allow_private` opens it |
//! |---|---|---|---|---|
//! | metadata | 169.254.169.254, 169.254.170.2, 169.254.170.23, 169.254.42.42, 100.100.100.200, 168.63.129.16, 192.0.0.192 | fd00:ec2::/32, fd00:c1::a9fe:a9fe, fd00:42::42, fd20:ce::254 | AWS, Azure, Google, Oracle, Alibaba, Scaleway | no |
//! | loopback | 127.0.0.0/8 | ::1 | RFC 1122, RFC 4291 | **yes** |
//! | private | 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 | fc00::/7 | RFC 1918, RFC 4193 | **yes** |
//! | shared (carrier-grade NAT) | 100.64.0.0/10 | | RFC 6598 | **yes** |
//! | unspecified | 0.0.0.0/8 | :: | RFC 1122, RFC 4291 | no |
//! | link-local | 169.254.0.0/16 | fe80::/10 | RFC 3927, RFC 4291 | no |
//! | site-local | | fec0::/10 | RFC 3879 | no |
//! | protocol assignments | 192.0.0.0/24, 192.88.99.0/24 | 2001::/23 | RFC 6890, RFC 7526, RFC 2928 | no |
//! | documentation | 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 | 2001:db8::/32, 3fff::/20 | RFC 5737, RFC 3849, RFC 9637 | no |
//! | benchmarking | 198.18.0.0/15 | (in 2001::/23) | RFC 2544, RFC 5180 | no |
//! | multicast | 224.0.0.0/4 | ff00::/8 | RFC 5771, RFC 4291 | no |
//! | broadcast | 255.255.255.255 | | RFC 919 | no |
//! | local translation | | 64:ff9b:1::/48 | RFC 8215 | no |
//! | discard | | 100::/64, 100:0:0:1::/64 | RFC 6666, RFC 9780 | no |
//! | reserved | 240.0.0.0/4 | everything else outside 2000::/3 | RFC 1112, RFC 4291 | no |
//!
//! An IPv6 address with an IPv4 address inside is judged by the IPv4 address, because packets end there.
//! An ISATAP address is judged by both.
//!
//! | form | prefix | from |
//! |---|---|---|
//! | IPv4-mapped, IPv4-compatible, IPv4-translated | ::ffff:0:0/96, ::/96, ::ffff:0:0:0/96 | RFC 4291, RFC 2765 |
//! | NAT64 | 64:ff9b::/96 | RFC 6052 |
//! | 6to4 | 2002::/16 | RFC 3056 |
//! | Teredo, its server and its client | 2001::/32 | RFC 4380 |
//! | ISATAP | any, with ::5efe:a.b.c.d or ::200:5efe:a.b.c.d at its end | RFC 5214 |

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A range of addresses that are not the open internet; see the [table](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Range {
    /// Where a cloud gives a machine its credentials.
    Metadata,
    /// This machine.
    Loopback,
    /// A private network, or an IPv6 unique local address.
    Private,
    /// Between a carrier and its customers.
    Shared,
    /// The unspecified address, which many systems treat as this machine.
    Unspecified,
    /// On the same link only.
    LinkLocal,
    /// The predecessor of unique local addresses.
    SiteLocal,
    /// Set apart for protocols.
    Protocol,
    /// For examples in texts.
    Documentation,
    /// For measuring network devices.
    Benchmarking,
    /// A group of machines.
    Multicast,
    /// All machines of a network.
    Broadcast,
    /// A network's own NAT64, which leads into it.
    LocalTranslation,
    /// Discarded by routers.
    Discard,
    /// Not assigned.
    Reserved,
}

impl Range {
    /// The range of an address; `None` for an address of the open internet, and for one that only leads
    /// to the IPv4 address [`inside`] it.
    pub(super) fn of(address: IpAddr) -> Option<Self> {
        if let IpAddr::V6(address) = address {
            if leads_to_ipv4(address) {
                return None;
            }
            if GLOBAL_UNICAST.contains(&address) || Self::listed(address.into()).is_some() {
                return Self::listed(address.into());
            }
            return Some(Self::Reserved);
        }
        Self::listed(address)
    }

    fn listed(address: IpAddr) -> Option<Self> {
        let mut ranges = RANGES.iter();
        ranges
            .find(|(net, _)| net.contains(&address))
            .map(|(_, range)| *range)
    }

    /// Whether `relay.allow_private` opens it.
    pub fn is_private(self) -> bool {
        matches!(self, Self::Loopback | Self::Private | Self::Shared)
    }
}

/// As in "a loopback address".
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metadata => "cloud metadata",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Shared => "carrier-grade NAT",
            Self::Unspecified => "unspecified",
            Self::LinkLocal => "link-local",
            Self::SiteLocal => "site-local",
            Self::Protocol => "protocol assignment",
            Self::Documentation => "documentation",
            Self::Benchmarking => "benchmarking",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::LocalTranslation => "local NAT64",
            Self::Discard => "discard-only",
            Self::Reserved => "reserved",
        })
    }
}

/// The IPv4 addresses inside an IPv6 address: none, one, or two for Teredo.
pub(super) fn inside(address: IpAddr) -> Vec<Ipv4Addr> {
    let IpAddr::V6(address) = address else {
        return Vec::new();
    };
    let bits = address.to_bits();
    // The 32 bits that end `from_right` bits before the end of the address.
    let v4 = |from_right: u32| {
        let bits = (bits >> from_right) & u128::from(u32::MAX);
        Ipv4Addr::from_bits(u32::try_from(bits).unwrap_or_default())
    };
    // The masked bit says whether the address is globally unique.
    let isatap = (bits >> 32) & 0xfdff_ffff == 0x0000_5efe;
    if SIX_TO_FOUR.contains(&address) {
        vec![v4(80)]
    } else if TEREDO.contains(&address) {
        // The server, and the client, which is inverted.
        vec![v4(64), Ipv4Addr::from_bits(!v4(0).to_bits())]
    } else if leads_to_ipv4(address) || isatap {
        vec![v4(0)]
    } else {
        Vec::new()
    }
}

/// Whether packets to this address are forwarded to the IPv4 address inside, and nowhere else.
fn leads_to_ipv4(address: Ipv6Addr) -> bool {
    // :: and ::1 look like IPv4-compatible addresses, but have a meaning of their own.
    let own = address.is_unspecified() || address.is_loopback();
    let mut nets = AT_THE_END.iter().chain([&SIX_TO_FOUR, &TEREDO]);
    !own && nets.any(|net| net.contains(&address))
}

const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);
const TEREDO: Ipv6Net = v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32);

/// Networks whose addresses have the IPv4 address in their last 32 bits.
const AT_THE_END: [Ipv6Net; 4] = [
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96),
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96),
];

/// The first network that holds an address counts.
const RANGES: [(IpNet, Range); 40] = [
    (net4([169, 254, 169, 254], 32), Range::Metadata),
    (net4([169, 254, 170, 2], 32), Range::Metadata), // AWS ECS
    (net4([169, 254, 170, 23], 32), Range::Metadata), // AWS EKS
    (net4([169, 254, 42, 42], 32), Range::Metadata), // Scaleway
    (net4([100, 100, 100, 200], 32), Range::Metadata), // Alibaba
    (net4([168, 63, 129, 16], 32), Range::Metadata), // Azure's wire server
    (net4([192, 0, 0, 192], 32), Range::Metadata),   // Oracle
    (net6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32), Range::Metadata), // AWS
    (
        net6([0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe], 128),
        Range::Metadata,
    ), // Oracle
    (
        net6([0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42], 128),
        Range::Metadata,
    ), // Scaleway
    (
        net6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128),
        Range::Metadata,
    ), // Google
    (net4([127, 0, 0, 0], 8), Range::Loopback),
    (net6([0, 0, 0, 0, 0, 0, 0, 1], 128), Range::Loopback),
    (net4([10, 0, 0, 0], 8), Range::Private),
    (net4([172, 16, 0, 0], 12), Range::Private),
    (net4([192, 168, 0, 0], 16), Range::Private),
    (net6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Range::Private),
    (net4([100, 64, 0, 0], 10), Range::Shared),
    (net4([0, 0, 0, 0], 8), Range::Unspecified),
    (net6([0, 0, 0, 0, 0, 0, 0, 0], 128), Range::Unspecified),
    (net4([169, 254, 0, 0], 16), Range::LinkLocal),
    (net6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Range::LinkLocal),
    (net6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Range::SiteLocal),
    (net4([192, 0, 0, 0], 24), Range::Protocol),
    (net4([192, 88, 99, 0], 24), Range::Protocol),
    (net6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), Range::Benchmarking),
    (net6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Range::Protocol),
    (net4([192, 0, 2, 0], 24), Range::Documentation),
    (net4([198, 51, 100, 0], 24), Range::Documentation),
    (net4([203, 0, 113, 0], 24), Range::Documentation),
    (
        net6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
        Range::Documentation,
    ),
    (
        net6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
        Range::Documentation,
    ),
    (net4([198, 18, 0, 0], 15), Range::Benchmarking),
    (net4([224, 0, 0, 0], 4), Range::Multicast),
    (net6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Range::Multicast),
    (net4([255, 255, 255, 255], 32), Range::Broadcast),
    (net4([240, 0, 0, 0], 4), Range::Reserved),
    (
        net6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
        Range::LocalTranslation,
    ),
    (net6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), Range::Discard),
    (net6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), Range::Discard),
];

const fn v6(s: [u16; 8], length: u8) -> Ipv6Net {
    let address = Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]);
    Ipv6Net::new_assert(address, length)
}

const fn net6(segments: [u16; 8], length: u8) -> IpNet {
    IpNet::V6(v6(segments, length))
}

const fn net4(octets: [u8; 4], length: u8) -> IpNet {
    let address = Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]);
    IpNet::V4(Ipv4Net::new_assert(address, length))
}
