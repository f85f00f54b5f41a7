use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::advice::advice;
use super::{Finding, explains};
use crate::signature::{
    Algorithm, DOCUMENTED_KEY, Encoding, Generic, Headers, Scheme, Secret, StandardWebhooks,
    XWebhookSignature,
};

const BODY: &[u8] = r#"{"event":"message","from":"+1","message":"Olá","n":[1,2]}"#.as_bytes();
const SECRET: &[u8] = b"c2VjcmV0IG9mIHRlc3Rz";

fn mac(algorithm: Algorithm, key: &[u8], body: &[u8]) -> Vec<u8> {
    let scheme = Generic::new("S").algorithm(algorithm);
    let header = scheme.sign(body, &Secret::new(key).unwrap(), Timestamp::UNIX_EPOCH);
    Encoding::Hex.decode(header[0].value.as_bytes()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    Encoding::Hex.encode(bytes)
}

fn sign(key: &[u8], body: &[u8]) -> String {
    hex(&mac(Algorithm::Sha256, key, body))
}

fn diagnose(signature: &str, body: &[u8], secret: &[u8]) -> Vec<Finding> {
    let headers = [("X-Webhook-Signature", signature)];
    with(&XWebhookSignature, &&headers[..], body, secret)
}

fn with(scheme: &dyn Scheme, headers: &dyn Headers, body: &[u8], secret: &[u8]) -> Vec<Finding> {
    let secret = Secret::new(secret).unwrap();
    super::diagnose(scheme, headers, body, &secret, at(NOW))
}

const NOW: i64 = 1_767_873_600;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The names of the findings. Checks that no finding shows the secret or the correct signature, and that
/// each says what to do.
#[track_caller]
fn reasons(signature: &str, body: &[u8], secret: &[u8]) -> Vec<&'static str> {
    let findings = diagnose(signature, body, secret);
    let shown = serde_json::to_string(&findings)
        .unwrap()
        .to_ascii_lowercase();
    let secret = String::from_utf8_lossy(secret).to_ascii_lowercase();
    let right = sign(secret.as_bytes(), body);
    assert!(
        !shown.contains(&secret) && !shown.contains(&right),
        "{shown}"
    );
    for finding in &findings {
        let general = finding.advice == advice("unexplained");
        assert_eq!(general, finding.reason == "unexplained", "{finding:?}");
    }
    findings.into_iter().map(|finding| finding.reason).collect()
}

#[test]
fn right_signatures() {
    let right = sign(SECRET, BODY);
    let upper = right.to_ascii_uppercase();
    for form in [
        right.clone(),
        upper.clone(),
        format!("sha256={right}"),
        format!("sha256={upper}"),
        format!("SHA256={right}"),
    ] {
        assert!(reasons(&form, BODY, SECRET).is_empty(), "{form}");
    }
}

#[test]
fn forms() {
    let mac = mac(Algorithm::Sha256, SECRET, BODY);
    let right = hex(&mac);
    let table: &[(&str, &[&str])] = &[
        ("", &["missing"]),
        ("  ", &["missing"]),
        ("sha256=", &["missing"]),
        ("X-Webhook-Signature:", &["missing"]),
        (&STANDARD.encode(&mac), &["base64"]),
        (&URL_SAFE_NO_PAD.encode(&mac), &["base64"]),
        (&format!("sha256={}", STANDARD.encode(&mac)), &["base64"]),
        (&STANDARD.encode([7; 32]), &["base64", "unexplained"]),
        (
            &format!("v1,{}", STANDARD.encode(&mac)),
            &["prefix", "base64"],
        ),
        (&format!("sha256:{right}"), &["prefix"]),
        (&format!("0x{right}"), &["prefix"]),
        (&format!("Bearer {right}"), &["prefix"]),
        (&format!("\"{right}\""), &["quoted"]),
        (&right[1..], &["length"]),
        (&right[2..], &["length"]),
        (&format!("{right}00"), &["length"]),
        (&hex(&[7; 16]), &["length"]),
        (&hex(&[7; 20]), &["length"]),
        (&hex(&[7; 64]), &["length"]),
        (&format!("{}zz", &right[2..]), &["not-hex"]),
        ("not a signature", &["not-hex"]),
        ("é", &["not-hex"]),
        (&hex(&[7; 32]), &["unexplained"]),
    ];
    for (signature, expected) in table {
        assert_eq!(reasons(signature, BODY, SECRET), *expected, "{signature}");
    }
}

#[test]
fn other_functions() {
    let hash = |parts: [&[u8]; 2]| hex(&Sha256::digest(parts.concat()));
    let sha512 = mac(Algorithm::Sha512, SECRET, BODY);
    let table = [
        (hex(&sha512), vec!["algorithm"]),
        (STANDARD.encode(&sha512), vec!["base64", "algorithm"]),
        (
            format!("sha512={}", hex(&sha512)),
            vec!["prefix", "algorithm"],
        ),
        (
            hex(&mac(Algorithm::Sha384, SECRET, BODY)),
            vec!["algorithm"],
        ),
        (hex(&mac(Algorithm::Sha1, SECRET, BODY)), vec!["algorithm"]),
        (hash([BODY, b""]), vec!["plain-sha256"]),
        (hash([SECRET, BODY]), vec!["secret-then-body"]),
        (hash([BODY, SECRET]), vec!["body-then-secret"]),
        (sign(BODY, SECRET), vec!["exchanged"]),
    ];
    for (signature, expected) in table {
        assert_eq!(reasons(&signature, BODY, SECRET), expected, "{signature}");
    }
}

#[test]
fn other_keys() {
    let decoded = b"secret of tests";
    let table: [(&[u8], &[u8], &str); 15] = [
        (b"secret", b" secret", "secret-whitespace"),
        (b"secret", b"secret\n", "secret-whitespace"),
        (b"secret", b"\tsecret\r\n", "secret-whitespace"),
        (b"secret\n", b"secret", "secret-whitespace"),
        (b"secret\r\n", b"secret", "secret-whitespace"),
        (b"secret ", b"secret", "secret-whitespace"),
        (b"secret", b"\"secret\"", "secret-quotes"),
        (b"secret", b"'secret'", "secret-quotes"),
        (b"\"secret\"", b"secret", "secret-quotes"),
        (b"\x01\xfe", b"01fE", "secret-decoded"),
        (decoded, SECRET, "secret-decoded"),
        (decoded, b"whsec_c2VjcmV0IG9mIHRlc3Rz", "secret-decoded"),
        (SECRET, b"whsec_c2VjcmV0IG9mIHRlc3Rz", "secret-decoded"),
        (DOCUMENTED_KEY, SECRET, "documented-key"),
        (b"\0", SECRET, "empty-secret"),
    ];
    for (key, secret, expected) in table {
        let shown = String::from_utf8_lossy(secret);
        assert_eq!(
            diagnose(&sign(key, BODY), BODY, secret)[0].reason,
            expected,
            "{shown:?}"
        );
    }
}

#[test]
fn other_bodies() {
    let pretty = "{\n  \"b\": \"é\",\n  \"a\": [\n    1\n  ]\n}";
    let compact = r#"{"b":"é","a":[1]}"#;
    let table: &[(&str, &str, &str)] = &[
        ("{}", "{}\n", "body-final-line-break"),
        ("{}", "{}\r\n", "body-final-line-break"),
        ("{}\n", "{}", "body-final-line-break"),
        ("{}\r\n", "{}", "body-final-line-break"),
        ("a\nb", "a\r\nb", "body-line-breaks"),
        ("a\r\nb", "a\nb", "body-line-breaks"),
        ("a\r\nb\r", "a\nb\r", "body-line-breaks"),
        ("{}", "\u{feff}{}", "body-bom"),
        ("\u{feff}{}", "{}", "body-bom"),
        ("", "{}", "body-empty"),
        ("a", " \n a  ", "body-whitespace"),
        (compact, pretty, "body-json"),
        (r#"{"b": "\u00e9", "a": [1]}"#, compact, "body-json"),
        (r#"{"b": "é", "a": [1]}"#, compact, "body-json"),
        (r#"{"a":[1],"b":"é"}"#, compact, "body-json"),
        (r#"{"a": [1], "b": "\u00e9"}"#, compact, "body-json"),
        (compact, r#"{"b":"\u00e9","a":[1]}"#, "body-json"),
    ];
    for (signed, body, expected) in table {
        let signature = sign(SECRET, signed.as_bytes());
        assert_eq!(
            reasons(&signature, body.as_bytes(), SECRET),
            [*expected],
            "{signed} {body}"
        );
    }
}

#[test]
fn a_key_and_a_body_at_once() {
    let signature = STANDARD.encode(mac(Algorithm::Sha512, b"s3cr3t\n", b"{}"));
    let expected = [
        "base64",
        "algorithm",
        "secret-whitespace",
        "body-final-line-break",
    ];
    assert_eq!(reasons(&signature, b"{}\n", b"s3cr3t"), expected);
}

/// A body that Standard Webhooks signs with `key` at this time, and changed headers.
fn standard(key: &[u8], sent: i64, change: impl Fn(&str, &str) -> String) -> Vec<(String, String)> {
    let text = format!("whsec_{}", STANDARD.encode(key));
    let secret = Secret::new(text).unwrap();
    let signed = StandardWebhooks::default().sign_as("msg_1", BODY, &secret, at(sent));
    let headers = signed.iter();
    headers
        .map(|header| (header.name.to_string(), change(&header.name, &header.value)))
        .collect()
}

fn names(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.reason).collect()
}

#[track_caller]
fn found(scheme: &dyn Scheme, headers: &[(String, String)], secret: &[u8]) -> Vec<&'static str> {
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let findings = with(scheme, &&headers[..], BODY, secret);
    let shown = serde_json::to_string(&findings).unwrap();
    assert!(!shown.contains(str::from_utf8(secret).unwrap()), "{shown}");
    names(&findings)
}

#[test]
fn standard_webhooks() {
    let scheme = StandardWebhooks::default();
    let secret = format!("whsec_{}", STANDARD.encode(b"key of tests"));
    let secret = secret.as_bytes();
    let same = |_: &str, value: &str| value.to_owned();
    let key = b"key of tests";
    let signature = |change: fn(&str) -> String| {
        move |name: &str, value: &str| match name {
            "webhook-signature" => change(value),
            _ => value.to_owned(),
        }
    };
    let hex = |value: &str| {
        let mac = STANDARD.decode(&value[3..]).unwrap();
        format!("v1,{}", Encoding::Hex.encode(&mac))
    };
    let no_version = |value: &str| value[3..].to_owned();
    let url = |value: &str| {
        let mac = STANDARD.decode(&value[3..]).unwrap();
        format!("v1,{}", URL_SAFE_NO_PAD.encode(mac))
    };
    let other_time = |name: &str, value: &str| match name {
        "webhook-timestamp" => "soon".to_owned(),
        _ => value.to_owned(),
    };
    let none: [&str; 0] = [];
    assert_eq!(found(&scheme, &standard(key, NOW, same), secret), none);
    let old = standard(key, NOW - 3600, same);
    assert_eq!(found(&scheme, &old, secret), ["timestamp"]);
    let early = standard(key, NOW + 301, same);
    assert_eq!(found(&scheme, &early, secret), ["timestamp"]);
    let headers = standard(key, NOW, signature(hex));
    assert_eq!(found(&scheme, &headers, secret), ["hex"]);
    let headers = standard(key, NOW, signature(no_version));
    assert_eq!(found(&scheme, &headers, secret), ["prefix"]);
    let headers = standard(key, NOW - 900, signature(no_version));
    assert_eq!(found(&scheme, &headers, secret), ["prefix"]);
    let headers = standard(key, NOW, signature(url));
    assert!(matches!(
        found(&scheme, &headers, secret)[..],
        [] | ["base64-url"]
    ));
    let headers = standard(key, NOW, other_time);
    assert_eq!(
        found(&scheme, &headers, secret),
        ["malformed-header", "unexplained"]
    );
    // The text of the secret as the key.
    let headers = standard(secret, NOW, same);
    assert_eq!(found(&scheme, &headers, secret), ["secret-undecoded"]);
    let headers = standard(b"another key", NOW, same);
    assert_eq!(found(&scheme, &headers, secret), ["unexplained"]);
    let headers = standard(b"another key", NOW - 3600, same);
    assert_eq!(
        found(&scheme, &headers, secret),
        ["timestamp", "unexplained"]
    );
    assert_eq!(found(&scheme, &[], secret), ["missing"]);
    let body_alone = format!("v1,{}", STANDARD.encode(mac(Algorithm::Sha256, key, BODY)));
    let headers = standard(key, NOW, |name, value| match name {
        "webhook-signature" => body_alone.clone(),
        _ => value.to_owned(),
    });
    assert_eq!(found(&scheme, &headers, secret), ["template"]);
}

#[test]
fn templates_and_keys_of_hmac() {
    let header = |name: &str, value: String| (name.to_owned(), value);
    let time = NOW.to_string();
    let dotted = sign(SECRET, &[time.as_bytes(), b".", BODY].concat());
    let slack = sign(SECRET, &[b"v0:", time.as_bytes(), b":", BODY].concat());
    let headers = |signature: String| {
        [
            header("x-webhook-signature", signature),
            header("x-webhook-timestamp", time.clone()),
        ]
    };
    assert_eq!(
        found(&XWebhookSignature, &headers(dotted.clone()), SECRET),
        ["template"]
    );
    assert_eq!(
        found(&XWebhookSignature, &headers(slack), SECRET),
        ["template"]
    );

    let scheme = Generic::new("X-Sig")
        .prefix("v1=")
        .encoding(Encoding::Base64);
    let scheme = scheme.template("{timestamp:X-Timestamp}.{body}").unwrap();
    let signed = |value: String| [header("x-sig", value), header("x-timestamp", time.clone())];
    let base64 = STANDARD.encode(Encoding::Hex.decode(dotted.as_bytes()).unwrap());
    let none: [&str; 0] = [];
    assert_eq!(
        found(&scheme, &signed(format!("v1={base64}")), SECRET),
        none
    );
    assert_eq!(found(&scheme, &signed(base64.clone()), SECRET), ["prefix"]);
    assert_eq!(
        found(&scheme, &signed(format!("v1={dotted}")), SECRET),
        ["hex"]
    );
    assert_eq!(
        found(&scheme, &signed(format!("v2={dotted}")), SECRET),
        ["prefix", "hex"]
    );
    let only = [header("x-sig", format!("v1={base64}"))];
    assert_eq!(found(&scheme, &only, SECRET), ["missing", "unexplained"]);
    let sha1 = STANDARD.encode(mac(
        Algorithm::Sha1,
        SECRET,
        &[time.as_bytes(), b".", BODY].concat(),
    ));
    assert_eq!(
        found(&scheme, &signed(format!("v1={sha1}")), SECRET),
        ["algorithm"]
    );
    let quoted = format!("\"v1={base64}\"");
    assert_eq!(found(&scheme, &signed(quoted), SECRET), ["quoted"]);
    let named = format!("X-Sig: v1={base64}");
    assert_eq!(found(&scheme, &signed(named), SECRET), ["header-name"]);
}

/// A scheme of another program is asked, and nothing else is known of it.
#[test]
fn a_scheme_of_another_program_is_only_asked() {
    use crate::signature::{Claim, Refusal, SignedHeader};

    #[derive(Debug)]
    struct Own;

    impl Scheme for Own {
        fn name(&self) -> &'static str {
            "own"
        }

        fn claim(&self, headers: &dyn Headers, _: Timestamp) -> Result<Claim, Refusal> {
            headers.value("own").map(|_| Claim::default())
        }

        fn matches(&self, _: &Claim, body: &[u8], _: &Secret) -> bool {
            body.is_empty()
        }

        fn sign(&self, _: &[u8], _: &Secret, _: Timestamp) -> Vec<SignedHeader> {
            Vec::new()
        }
    }

    let headers = [("own", "x")];
    assert!(with(&Own, &&headers[..], b"", SECRET).is_empty());
    assert_eq!(
        names(&with(&Own, &&headers[..], b"x", SECRET)),
        ["unexplained"]
    );
}

/// A sender may send the secret itself.
#[test]
fn a_secret_that_is_sent_is_not_shown() {
    for value in [
        "s3cr3t-of-it",
        "s3cr3t-of-it:0123456789abcdef0123456789abcdef",
        "\"s3cr3t-of-it\"",
    ] {
        let findings = diagnose(value, BODY, b"s3cr3t-of-it");
        let shown = serde_json::to_string(&findings).unwrap();
        assert!(!shown.contains("s3cr3t"), "{shown}");
        assert!(!explains(&findings), "{shown}");
    }
}

#[test]
fn only_what_needs_the_secret_explains() {
    let base64 = STANDARD.encode(mac(Algorithm::Sha256, SECRET, BODY));
    assert!(explains(&diagnose(&base64, BODY, SECRET)));
    for other in [
        STANDARD.encode([7; 32]),
        hex(&[7; 32]),
        String::new(),
        "x".repeat(40),
    ] {
        assert!(!explains(&diagnose(&other, BODY, SECRET)), "{other}");
    }
    assert!(!explains(&[]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a sender sends, something is said of it, and nothing panics.
    #[test]
    fn any_header_can_be_explained(
        signature in prop_oneof![any::<String>(), "[a-z0-9=,: \"'+/-]{0,90}", "(v1,|sha256=|0x)?[0-9a-fA-F]{64}"],
        time in prop_oneof![any::<String>(), "[0-9]{0,20}"],
        body: Vec<u8>,
    ) {
        let hmac = Generic::new("X-Webhook-Signature").separator(",").prefix("v1=");
        let hmac = hmac.template("{timestamp:X-Timestamp}.{body}").unwrap();
        let standard = StandardWebhooks::default();
        let headers = [
            ("x-webhook-signature", &*signature),
            ("webhook-signature", &*signature),
            ("webhook-id", "1"),
            ("webhook-timestamp", &*time),
            ("x-timestamp", &*time),
        ];
        for scheme in [&XWebhookSignature as &dyn Scheme, &standard, &hmac] {
            let findings = with(scheme, &&headers[..], &body, SECRET);
            prop_assert!(!findings.is_empty());
            prop_assert!(!explains(&findings), "{findings:?}");
        }
    }
}
