//! [`Range`]: the address ranges that are not the open internet.
//!
//! They come from IANA's special-purpose address registries (IPv4 and IPv6, RFC 6890 and its updates),
//! the multicast registries, and the addresses where the large clouds give out credentials.
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
use std::sync::LazyLock;

use ipnet::IpNet;

/// A range of addresses that are not the open internet. [`Range::is_private`] says which ones
/// `relay.allow_private` opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Range {
    /// Where a cloud gives a machine its credentials: AWS, Azure, Google, Oracle, Alibaba, Scaleway.
    Metadata,
    /// This machine: 127.0.0.0/8, ::1 (RFC 1122, RFC 4291).
    Loopback,
    /// A private network, 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16 (RFC 1918), or an IPv6 unique
    /// local address, fc00::/7 (RFC 4193).
    Private,
    /// Between a carrier and its customers (carrier-grade NAT): 100.64.0.0/10 (RFC 6598).
    Shared,
    /// The unspecified address, which many systems treat as this machine: 0.0.0.0/8, :: (RFC 1122, RFC
    /// 4291).
    Unspecified,
    /// On the same link only: 169.254.0.0/16, fe80::/10 (RFC 3927, RFC 4291).
    LinkLocal,
    /// The predecessor of unique local addresses: fec0::/10 (RFC 3879).
    SiteLocal,
    /// Set apart for protocols: 192.0.0.0/24, 192.88.99.0/24, 2001::/23 (RFC 6890, RFC 7526, RFC 2928).
    Protocol,
    /// For examples in texts: 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24, 2001:db8::/32, 3fff::/20
    /// (RFC 5737, RFC 3849, RFC 9637).
    Documentation,
    /// For measuring network devices: 198.18.0.0/15, 2001:2::/48 (RFC 2544, RFC 5180).
    Benchmarking,
    /// A group of machines: 224.0.0.0/4, ff00::/8 (RFC 5771, RFC 4291).
    Multicast,
    /// All machines of a network: 255.255.255.255 (RFC 919).
    Broadcast,
    /// A network's own NAT64, which leads into it: 64:ff9b:1::/48 (RFC 8215).
    LocalTranslation,
    /// Discarded by routers: 100::/64, 100:0:0:1::/64 (RFC 6666, RFC 9780).
    Discard,
    /// Not assigned: 240.0.0.0/4, and everything else outside 2000::/3 (RFC 1112, RFC 4291).
    Reserved,
}

impl Range {
    /// The range of an address; `None` for an address of the open internet, and for one that only leads
    /// to the IPv4 address [`inside`] it.
    pub(super) fn of(address: IpAddr) -> Option<Self> {
        let mut networks = NETWORKS.iter();
        let listed = networks.find(|(network, _)| network.contains(&address));
        let listed = listed.map(|(_, range)| *range);
        match address {
            IpAddr::V6(address) if leads_to_ipv4(address) => None,
            // Nothing of the open internet is assigned outside 2000::/3.
            IpAddr::V6(address) if address.segments()[0] >> 13 != 1 => {
                listed.or(Some(Self::Reserved))
            }
            _ => listed,
        }
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
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        // 6to4.
        [0x2002, high, low, ..] => vec![v4(high, low)],
        // Teredo: the server, and the client, which is inverted.
        [0x2001, 0, high, low, .., client_high, client_low] => {
            vec![v4(high, low), v4(!client_high, !client_low)]
        }
        // ISATAP. 0x200 is the bit that says whether the address is globally unique.
        [.., 0 | 0x200, 0x5efe, high, low] => vec![v4(high, low)],
        [.., high, low] if leads_to_ipv4(address) => vec![v4(high, low)],
        _ => Vec::new(),
    }
}

/// Whether packets to this address are forwarded to the IPv4 address inside, and nowhere else.
fn leads_to_ipv4(address: Ipv6Addr) -> bool {
    // :: and ::1 look like IPv4-compatible addresses, but have a meaning of their own.
    if address.is_unspecified() || address.is_loopback() {
        return false;
    }
    matches!(
        address.segments(),
        // IPv4-compatible and IPv4-mapped, IPv4-translated, NAT64, 6to4, Teredo.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..]
            | [0, 0, 0, 0, 0xffff, 0, ..]
            | [0x64, 0xff9b, 0, 0, 0, 0, ..]
            | [0x2002, ..]
            | [0x2001, 0, ..]
    )
}

/// [`CLOSED`] in its order, parsed.
static NETWORKS: LazyLock<Vec<(IpNet, Range)>> = LazyLock::new(|| {
    let parsed = |text: &str| text.parse().expect("the table holds networks");
    let networks = CLOSED.iter().flat_map(|(range, texts)| {
        let texts = texts.split_whitespace();
        texts.map(move |text| (parsed(text), *range))
    });
    networks.collect()
});

/// The networks of each range. The first network that holds an address counts, so a part of another
/// range stands before that range.
const CLOSED: &[(Range, &str)] = &[
    (Range::Metadata, "169.254.169.254/32"), // nearly all clouds
    (Range::Metadata, "169.254.170.2/32 169.254.170.23/32"), // AWS ECS and EKS
    (Range::Metadata, "fd00:ec2::/32"),      // AWS
    (Range::Metadata, "169.254.42.42/32 fd00:42::42/128"), // Scaleway
    (Range::Metadata, "100.100.100.200/32"), // Alibaba
    (Range::Metadata, "168.63.129.16/32"),   // Azure's wire server
    (Range::Metadata, "192.0.0.192/32 fd00:c1::a9fe:a9fe/128"), // Oracle
    (Range::Metadata, "fd20:ce::254/128"),   // Google
    (Range::Loopback, "127.0.0.0/8 ::1/128"),
    (Range::Private, "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16"),
    (Range::Private, "fc00::/7"),
    (Range::Shared, "100.64.0.0/10"),
    (Range::Unspecified, "0.0.0.0/8 ::/128"),
    (Range::LinkLocal, "169.254.0.0/16 fe80::/10"),
    (Range::SiteLocal, "fec0::/10"),
    (Range::Benchmarking, "198.18.0.0/15 2001:2::/48"),
    (Range::Protocol, "192.0.0.0/24 192.88.99.0/24 2001::/23"),
    (Range::Documentation, "192.0.2.0/24 198.51.100.0/24"),
    (Range::Documentation, "203.0.113.0/24"),
    (Range::Documentation, "2001:db8::/32 3fff::/20"),
    (Range::Multicast, "224.0.0.0/4 ff00::/8"),
    (Range::Broadcast, "255.255.255.255/32"),
    (Range::Reserved, "240.0.0.0/4"),
    (Range::LocalTranslation, "64:ff9b:1::/48"),
    (Range::Discard, "100::/64 100:0:0:1::/64"),
];
