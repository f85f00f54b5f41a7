use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use offhook::Timestamp;
use offhook::settings::DOCUMENTED_KEY;
use offhook::signature::Encoding;

use super::*;

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
        format!(" {right}\n"),
        format!("X-Webhook-Signature: {right}"),
        format!("x-webhook-signature:sha256={right}"),
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
        (&format!("SHA256={right}"), &["prefix"]),
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
