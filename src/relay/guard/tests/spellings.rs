//! Property tests: an address is judged alike in every spelling.

use proptest::prelude::*;

use super::*;

/// Every way to write an IPv4 address into an IPv6 one.
fn spellings(v4: Ipv4Addr, filler: u64) -> Vec<Ipv6Addr> {
    let low = u128::from(v4.to_bits());
    let filler = u128::from(filler);
    let public = u128::from(Ipv4Addr::new(8, 8, 8, 8).to_bits());
    let spelled = [
        0xffff << 32 | low,
        0xffff << 48 | low,
        0x0064_ff9b << 96 | low,
        0x2002 << 112 | low << 80 | filler,
        0x2001 << 112 | low << 64 | filler << 32 & 0xffff_ffff << 32 | u128::from(!0x0808_0808_u32),
        0x2001 << 112 | public << 64 | u128::from(!v4.to_bits()),
        0x2606_4700 << 96 | 0x5efe << 32 | low,
        0x2606_4700 << 96 | 0x0200_5efe << 32 | low,
    ];
    let compatible = (low > 1).then_some(low);
    spelled
        .into_iter()
        .chain(compatible)
        .map(Ipv6Addr::from_bits)
        .collect()
}

/// IPv4 addresses that are not public, listed by hand and not taken from the table under test.
fn rejected_v4() -> impl Strategy<Value = Ipv4Addr> {
    let networks = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    ];
    let networks: Vec<ipnet::Ipv4Net> = networks.iter().map(|net| net.parse().unwrap()).collect();
    (proptest::sample::select(networks), any::<u32>()).prop_map(|(net, bits)| {
        Ipv4Addr::from_bits(net.network().to_bits() | bits & net.hostmask().to_bits())
    })
}

proptest! {
    #[test]
    fn no_rejected_address_passes_in_any_spelling(v4 in rejected_v4(), filler: u64) {
        let guard = Guard::default();
        let rejects = |host: &str| guard.url(&format!("http://{host}/")).is_err();
        let bits = v4.to_bits();
        let [a, b, c, d] = v4.octets();
        for host in [
            v4.to_string(),
            format!("{v4}."),
            bits.to_string(),
            format!("{bits:#x}"),
            format!("0{bits:o}"),
            format!("{a:#x}.0{b:o}.{}", u16::from_be_bytes([c, d])),
        ] {
            prop_assert!(rejects(&host), "{}", host);
        }
        prop_assert!(guard.check_address("host", v4.into()).is_err());
        for v6 in spellings(v4, filler) {
            prop_assert!(guard.check_address("host", v6.into()).is_err(), "{}", v6);
            prop_assert!(rejects(&format!("[{v6}]")), "{}", v6);
        }
    }

    #[test]
    fn allow_private_opens_private_ranges_only(v4 in rejected_v4(), filler: u64) {
        let open = guard(true, &[]);
        let expected = open.check_address("host", v4.into()).is_ok();
        let private = v4.is_private() || v4.is_loopback()
            || v4.octets()[0] == 100 && v4 != Ipv4Addr::new(100, 100, 100, 200);
        prop_assert_eq!(expected, private);
        for v6 in spellings(v4, filler) {
            prop_assert_eq!(open.check_address("host", v6.into()).is_ok(), expected, "{}", v6);
        }
    }

    #[test]
    fn no_text_panics_and_good_urls_pass_again(text in "\\PC{0,60}", tail in "\\PC{0,40}") {
        for text in [text, format!("http://{tail}")] {
            if let Ok(url) = Guard::default().url(&text) {
                prop_assert!(Guard::default().url(url.as_str()).is_ok(), "{}", url);
            }
        }
        let _ = tail.parse::<Exception>();
    }
}
