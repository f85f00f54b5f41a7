//! Which URLs pass the guard, in every spelling of their hosts.

mod lookups;
mod spellings;

use super::*;

fn guard(allow_private: bool, allow: &[&str]) -> Guard {
    let allow = allow.iter().map(|text| text.parse().unwrap());
    Guard::new(allow_private, allow.collect())
}

/// Why a URL is rejected in one word, or `ok`.
fn word(guard: &Guard, url: &str) -> String {
    match guard.url(url) {
        Ok(_) => "ok".to_owned(),
        Err(RejectedAddress::NotAUrl(_)) => "no url".to_owned(),
        Err(RejectedAddress::TooLong) => "too long".to_owned(),
        Err(RejectedAddress::Scheme(_)) => "scheme".to_owned(),
        Err(RejectedAddress::Userinfo) => "userinfo".to_owned(),
        Err(RejectedAddress::Port) => "port".to_owned(),
        Err(RejectedAddress::NoHost) => "no host".to_owned(),
        Err(RejectedAddress::Address { range, .. }) => range.to_string(),
        Err(RejectedAddress::Unresolved { .. }) => "unresolved".to_owned(),
    }
}

#[test]
fn urls_are_checked_without_the_network() {
    let long = format!("https://crm.example/{}", "x".repeat(MAX_URL));
    let table = [
        ("https://crm.example/webhook", "ok"),
        ("http://crm.example:8080/", "ok"),
        ("HTTPS://CRM.EXAMPLE", "ok"),
        ("https://crm.example./", "ok"),
        ("https://b\u{fc}cher.example/", "ok"),
        ("https://8.8.8.8/", "ok"),
        ("https://[2606:4700:4700::1111]/", "ok"),
        ("", "no url"),
        ("crm.example/webhook", "no url"),
        ("/webhook", "no url"),
        (" https://crm.example/", "no url"),
        ("https://crm.exa\nmple/", "no url"),
        ("https://crm.example/\t", "no url"),
        ("https://crm.example:65536/", "no url"),
        ("https://[fe80::1%25eth0]/", "no url"),
        ("https://[fe80::1%eth0]/", "no url"),
        ("https://1.2.3.4.5/", "no url"),
        ("https://256.1.1.1/", "no url"),
        ("https://", "no url"),
        (&long, "too long"),
        ("ftp://crm.example/", "scheme"),
        ("file:///etc/passwd", "scheme"),
        ("gopher://127.0.0.1/", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("unix:/run/docker.sock", "scheme"),
        ("https://user@crm.example/", "userinfo"),
        ("https://user:pass@crm.example/", "userinfo"),
        ("https://:pass@crm.example/", "userinfo"),
        ("https://crm.example@127.0.0.1/", "userinfo"),
        ("https://crm.example:0/", "port"),
        ("https://./", "no host"),
    ];
    for (url, expected) in table {
        assert_eq!(word(&Guard::default(), url), expected, "{url}");
    }
}

/// Hosts, what they are, and whether `allow_private` opens them.
const HOSTS: &[(&str, &str, bool)] = &[
    // Loopback in every spelling of the URL standard.
    ("localhost", "loopback", true),
    ("LOCALHOST", "loopback", true),
    ("localhost.", "loopback", true),
    ("a.b.localhost", "loopback", true),
    ("ｌｏｃａｌｈｏｓｔ", "loopback", true),
    ("127.0.0.1", "loopback", true),
    ("127.0.0.1.", "loopback", true),
    ("127.255.255.254", "loopback", true),
    ("127.1", "loopback", true),
    ("2130706433", "loopback", true),
    ("0x7f000001", "loopback", true),
    ("0x7F.0.0.1", "loopback", true),
    ("0177.0.0.1", "loopback", true),
    ("017700000001", "loopback", true),
    ("127。0。0。1", "loopback", true),
    ("①②⑦.0.0.1", "loopback", true),
    ("%31%32%37.0.0.1", "loopback", true),
    ("[::1]", "loopback", true),
    ("[0:0:0:0:0:0:0:1]", "loopback", true),
    ("[::ffff:127.0.0.1]", "loopback", true),
    ("[::FFFF:7F00:1]", "loopback", true),
    ("[::127.0.0.1]", "loopback", true),
    ("[::ffff:0:127.0.0.1]", "loopback", true),
    ("[64:ff9b::127.0.0.1]", "loopback", true),
    ("[2002:7f00:1::]", "loopback", true),
    ("[2002:7f00:1::5:6]", "loopback", true),
    ("[2001:0:7f00:1::f7f7:f7f7]", "loopback", true), // Teredo's server; the client is 8.8.8.8
    ("[2001:0:808:808::80ff:fffe]", "loopback", true), // its client
    ("[2606:4700::5efe:127.0.0.1]", "loopback", true),
    ("[2606:4700::200:5efe:7f00:1]", "loopback", true),
    // Private.
    ("10.0.0.0", "private", true),
    ("10.255.255.255", "private", true),
    ("172.16.0.1", "private", true),
    ("172.31.255.255", "private", true),
    ("192.168.1.1", "private", true),
    ("0xc0a80101", "private", true),
    ("[fc00::1]", "private", true),
    ("[fdff:ffff::1]", "private", true),
    ("[::ffff:10.0.0.1]", "private", true),
    ("[64:ff9b::10.0.0.1]", "private", true),
    ("[2002:c0a8:101::1]", "private", true),
    ("100.64.0.1", "carrier-grade NAT", true),
    ("100.127.255.255", "carrier-grade NAT", true),
    // Metadata.
    ("169.254.169.254", "cloud metadata", false),
    ("2852039166", "cloud metadata", false),
    ("0xa9fea9fe", "cloud metadata", false),
    ("0251.0376.0251.0376", "cloud metadata", false),
    ("169.254.43518", "cloud metadata", false),
    ("[::ffff:169.254.169.254]", "cloud metadata", false),
    ("[64:ff9b::a9fe:a9fe]", "cloud metadata", false),
    ("[2002:a9fe:a9fe::]", "cloud metadata", false),
    ("[fd00:ec2::254]", "cloud metadata", false),
    ("[fd00:ec2::23]", "cloud metadata", false),
    ("[fd20:ce::254]", "cloud metadata", false),
    ("[fd00:42::42]", "cloud metadata", false),
    ("[fd00:c1::a9fe:a9fe]", "cloud metadata", false),
    ("100.100.100.200", "cloud metadata", false),
    ("168.63.129.16", "cloud metadata", false),
    ("192.0.0.192", "cloud metadata", false),
    ("169.254.170.2", "cloud metadata", false),
    // The rest.
    ("169.254.0.1", "link-local", false),
    ("[fe80::1]", "link-local", false),
    ("[febf::1]", "link-local", false),
    ("[fe80::5efe:8.8.8.8]", "link-local", false),
    ("[fec0::1]", "site-local", false),
    ("0.0.0.0", "unspecified", false),
    ("0", "unspecified", false),
    ("0.1.2.3", "unspecified", false),
    ("[::]", "unspecified", false),
    ("[::ffff:0.0.0.0]", "unspecified", false),
    ("[::2]", "unspecified", false), // 0.0.0.2 in the compatible form
    ("192.0.0.1", "protocol assignment", false),
    ("192.88.99.1", "protocol assignment", false),
    ("[2001:1::1]", "protocol assignment", false),
    ("[2001:20::1]", "protocol assignment", false),
    ("192.0.2.1", "documentation", false),
    ("198.51.100.1", "documentation", false),
    ("203.0.113.1", "documentation", false),
    ("[2001:db8::1]", "documentation", false),
    ("[2001:db8::5efe:8.8.8.8]", "documentation", false),
    ("[3fff::1]", "documentation", false),
    ("198.18.0.1", "benchmarking", false),
    ("198.19.255.255", "benchmarking", false),
    ("[2001:2::1]", "benchmarking", false),
    ("224.0.0.1", "multicast", false),
    ("239.255.255.250", "multicast", false),
    ("[ff02::1]", "multicast", false),
    ("[64:ff9b::224.0.0.1]", "multicast", false),
    ("255.255.255.255", "broadcast", false),
    ("4294967295", "broadcast", false),
    ("240.0.0.1", "reserved", false),
    ("[64:ff9b:1::8.8.8.8]", "local NAT64", false),
    ("[100::1]", "discard-only", false),
    ("[100:0:0:1::1]", "discard-only", false),
    ("[4000::1]", "reserved", false),
    ("[5f00::1]", "reserved", false),
    ("[64:ff9b:2::1]", "reserved", false),
    // The neighbours of rejected ranges.
    ("9.255.255.255", "ok", true),
    ("11.0.0.0", "ok", true),
    ("100.63.255.255", "ok", true),
    ("100.128.0.0", "ok", true),
    ("126.255.255.255", "ok", true),
    ("128.0.0.0", "ok", true),
    ("169.253.255.255", "ok", true),
    ("169.255.0.0", "ok", true),
    ("172.15.255.255", "ok", true),
    ("172.32.0.0", "ok", true),
    ("192.0.1.0", "ok", true),
    ("192.169.0.0", "ok", true),
    ("198.17.255.255", "ok", true),
    ("198.20.0.0", "ok", true),
    ("223.255.255.255", "ok", true),
    ("[::ffff:8.8.8.8]", "ok", true),
    ("[64:ff9b::8.8.8.8]", "ok", true),
    ("[2002:808:808::1]", "ok", true),
    ("[2001:0:808:808::f7f7:f7f7]", "ok", true),
    ("[2001:200::1]", "ok", true),
    ("[2a00:1450::1]", "ok", true),
    ("localhost.example", "ok", true),
    ("mylocalhost", "ok", true),
];

#[test]
fn every_range_in_every_spelling() {
    for (host, range, private) in HOSTS {
        let url = format!("http://{host}:8080/webhook");
        assert_eq!(word(&Guard::default(), &url), *range, "{url}");
        let opened = if *private { "ok" } else { range };
        let open = guard(true, &[]);
        assert_eq!(word(&open, &url), opened, "allow_private: {url}");
        let everything = guard(false, &["0.0.0.0/0", "::/0", "localhost", "a.b.localhost"]);
        assert_eq!(word(&everything, &url), "ok", "allow everything: {url}");
    }
}

#[test]
fn an_isatap_address_is_judged_by_both() {
    let url = "http://[fd00::5efe:169.254.169.254]/";
    assert_eq!(word(&Guard::default(), url), "private");
    assert_eq!(word(&guard(true, &[]), url), "cloud metadata");
    let open = guard(true, &[]);
    assert_eq!(word(&open, "http://[fd00::5efe:10.0.0.1]/"), "ok");
}

#[test]
fn an_exception_opens_what_it_names_and_no_more() {
    let table = [
        ("10.1.2.0/24", "http://10.1.2.3/", "ok"),
        ("10.1.2.0/24", "http://[::ffff:10.1.2.3]/", "ok"),
        ("10.1.2.0/24", "http://10.1.3.3/", "private"),
        ("169.254.169.254", "http://169.254.169.254/", "ok"),
        ("169.254.169.254", "http://169.254.169.253/", "link-local"),
        ("169.254.0.0/16", "http://169.254.169.254/", "ok"),
        ("[::1]", "http://[::1]/", "ok"),
        ("::1", "http://127.0.0.1/", "loopback"),
        ("localhost", "http://LOCALHOST./", "ok"),
        ("localhost", "http://a.localhost/", "loopback"),
        ("localhost", "http://127.0.0.1/", "loopback"),
        ("127.0.0.0/8", "http://localhost/", "ok"), // its addresses are judged
        ("8.8.8.8", "http://[2001:0:808:808::80ff:fffe]/", "loopback"),
        ("64:ff9b:1::/48", "http://[64:ff9b:1::1]/", "ok"),
    ];
    for (exception, url, expected) in table {
        assert_eq!(
            word(&guard(false, &[exception]), url),
            expected,
            "{exception} {url}"
        );
    }
}

#[test]
fn an_error_says_what_would_open_the_address() {
    let text = |url: &str| Guard::default().url(url).unwrap_err().to_string();
    assert_eq!(
        text("http://10.0.0.1/"),
        "10.0.0.1 is a private address, which is not posted to; to do so, set relay.allow_private, \
         or add \"10.0.0.1\" to relay.allow"
    );
    let unspecified = text("http://0/");
    assert!(
        unspecified.starts_with("0.0.0.0 is an unspecified address, which is never posted to"),
        "{unspecified}"
    );
    assert_eq!(
        text("http://[::ffff:169.254.169.254]/"),
        "::ffff:169.254.169.254 holds 169.254.169.254, a cloud metadata address, which is never \
         posted to, even with relay.allow_private; if it must be, add \"::ffff:169.254.169.254\" \
         to relay.allow"
    );
    assert_eq!(
        text("http://localhost/"),
        "localhost has the address 127.0.0.1, which is a loopback address, which is not posted to; \
         to do so, set relay.allow_private, or add \"localhost\" or \"127.0.0.1\" to relay.allow"
    );
}
