//! `offhook sign` and `offhook verify` with each scheme: what one makes the other takes, and says what is wrong.

use std::io::Write as _;
use std::process::Stdio;

use jiff::SignedDuration;
use offhook::Timestamp;
use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::{EvolutionJwt, Generic, Scheme, Slack, Stripe, Token, Twilio};
use serde_json::Value;

use crate::support::{Ran, offhook, secret};

const KEY: &str = "0123456789abcdef";
const BODY: &str = "From=%2B1&Body=Hi+there";
const TWILIO: [&str; 4] = ["--scheme", "twilio", "--public-url", "https://me.example/t"];

/// Runs with the body on standard input.
fn run(command: &str, scheme: &[&str], more: &[&str]) -> Ran {
    let mut command = offhook(&[command, "--json", "--secret", KEY]);
    command.args(scheme).args(more).stdin(Stdio::piped());
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // A command that is refused may end before it reads.
    drop(input.write_all(BODY.as_bytes()));
    drop(input);
    child.wait_with_output().unwrap().into()
}

/// What `verify` says of these headers, the signature first.
fn verify(scheme: &[&str], headers: &[(String, String)]) -> Ran {
    let (signature, others) = headers.split_first().unwrap();
    let lines = others
        .iter()
        .map(|(name, value)| format!("{name}: {value}"));
    let sent: Vec<String> = lines.flat_map(|line| ["--sent".to_owned(), line]).collect();
    let mut more = vec!["--signature", signature.1.as_str()];
    more.extend(sent.iter().map(String::as_str));
    run("verify", scheme, &more)
}

#[test]
fn what_sign_makes_verify_takes() {
    let mut schemes: Vec<Vec<&str>> = Generic::presets()
        .map(|name| vec!["--scheme", name])
        .collect();
    for name in ["stripe", "telegram", "evolution-jwt", "x-webhook-signature"] {
        schemes.push(vec!["--scheme", name]);
    }
    schemes.push(vec!["--scheme", "token", "--header", "X-Gitlab-Token"]);
    schemes.push(TWILIO.into());
    schemes.push([&TWILIO[..], &["--algorithm", "sha256"]].concat());
    assert_eq!(schemes.len(), 17);
    for scheme in &schemes {
        let signed = run("sign", scheme, &[]);
        assert_eq!(signed.status, 0, "{scheme:?}: {signed:?}");
        let signed = signed.json();
        let mut headers: Vec<(String, String)> = signed
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        // The time and the settings of a signature come after it.
        headers.sort_by_key(|(name, _)| name.contains("Timestamp") || name.contains("Settings"));
        let ran = verify(scheme, &headers);
        assert_eq!(
            (ran.status, ran.json()["valid"].as_bool()),
            (0, Some(true)),
            "{scheme:?}: {ran:?}"
        );
        let last = headers[0].1.pop().unwrap();
        headers[0].1.push(if last.eq_ignore_ascii_case(&'a') {
            'B'
        } else {
            'A'
        });
        let ran = verify(scheme, &headers);
        assert_eq!(
            (ran.status, ran.json()["valid"].as_bool()),
            (1, Some(false)),
            "{scheme:?}: {ran:?}"
        );
        assert!(!format!("{ran:?}").contains(KEY), "{scheme:?}: {ran:?}");
    }
    let odd = run("sign", &["--scheme", "github", "--header", "X"], &[]);
    assert_eq!(odd.status, 2);
    assert!(
        odd.said
            .contains("--header: --scheme github does not take this"),
        "{odd:?}"
    );
    let odd = run("sign", &["--scheme", "twilio", "--public-url", "me"], &[]);
    assert_eq!(odd.status, 2);
    assert!(odd.said.contains("https://me.example/twilio"), "{odd:?}");
}

/// Headers with their values.
type Signed = Vec<(String, String)>;

/// The headers that this scheme makes with this key at this time.
fn signed(scheme: &dyn Scheme, key: &str, at: Timestamp) -> Signed {
    let signed = scheme.sign(BODY.as_bytes(), &secret(key), at);
    signed
        .into_iter()
        .map(|one| (one.name.into_owned(), one.value))
        .collect()
}

#[test]
fn verify_says_what_is_wrong() {
    let now = SystemClock.now();
    let old = now - SignedDuration::from_hours(1);
    let of = |name: &str| Generic::preset(name).unwrap();
    let url = |text: &str| Twilio::new(text).unwrap();
    let key = KEY.to_owned();
    let decoded = "whsec_MDEyMzQ1Njc4OWFiY2RlZg==";
    let with = |name: &str, value: String| vec![(name.to_owned(), value)];
    let table: Vec<(&[&str], Signed, &str)> = vec![
        (
            &["--scheme", "github"],
            signed(&of("line"), KEY, now),
            "prefix",
        ),
        (
            &["--scheme", "github"],
            signed(&of("github"), &format!("{KEY}\n"), now),
            "secret-whitespace",
        ),
        (
            &["--scheme", "github"],
            signed(&of("github"), "other", now),
            "unexplained",
        ),
        (
            &["--scheme", "waha"],
            signed(&of("wuzapi"), KEY, now),
            "algorithm",
        ),
        (
            &["--scheme", "line"],
            signed(&of("wuzapi"), KEY, now),
            "hex",
        ),
        (
            &["--scheme", "shopify"],
            signed(&of("line"), "other", now),
            "unexplained",
        ),
        (&["--scheme", "viber"], with("x", "zz".into()), "not-hex"),
        (
            &["--scheme", "slack"],
            signed(&Slack::default(), KEY, old),
            "timestamp",
        ),
        (
            &["--scheme", "slack"],
            signed(&of("wuzapi"), KEY, now),
            "missing",
        ),
        (
            &["--scheme", "meta"],
            signed(&of("wuzapi"), KEY, now),
            "prefix",
        ),
        (
            &["--scheme", "stripe"],
            signed(&Stripe::default(), KEY, old),
            "timestamp",
        ),
        (
            &["--scheme", "stripe"],
            signed(&Stripe::default(), &format!(" {KEY}"), now),
            "unexplained",
        ),
        (
            &["--scheme", "stripe"],
            with("x", "v1=00".into()),
            "malformed-header",
        ),
        (
            &["--scheme", "telegram"],
            with("x", "0123456789abcdeX".into()),
            "unexplained",
        ),
        (
            &["--scheme", "telegram"],
            with("x", format!("\"{KEY}\"")),
            "secret-quotes",
        ),
        (
            &[
                "--scheme", "token", "--header", "X-T", "--prefix", "Bearer ",
            ],
            with("x", key),
            "malformed-header",
        ),
        (
            &["--scheme", "evolution-jwt"],
            signed(&EvolutionJwt, KEY, old),
            "timestamp",
        ),
        (
            &["--scheme", "evolution-jwt"],
            signed(&EvolutionJwt, "other", now),
            "unexplained",
        ),
        (
            &["--scheme", "evolution-jwt"],
            signed(&Token::new("authorization").prefix("Bearer "), KEY, now),
            "malformed-header",
        ),
        (
            &TWILIO,
            signed(&url("http://me.example/t"), KEY, now),
            "address",
        ),
        (
            &TWILIO,
            signed(&url("https://me.example/t/"), KEY, now),
            "address",
        ),
        (
            &TWILIO,
            signed(&url("https://me.example/u"), KEY, now),
            "unexplained",
        ),
        (&TWILIO, with("x", "0".into()), "malformed-header"),
    ];
    for (scheme, headers, reason) in table {
        let ran = verify(scheme, &headers);
        let said = ran.json();
        let reasons: Vec<&Value> = { said["reasons"].as_array().unwrap().iter() }
            .map(|one| &one["reason"])
            .collect();
        assert!(
            reasons.iter().any(|one| **one == reason),
            "{scheme:?}: {reason}: {ran:?}"
        );
        assert!(
            ran.status == 1 && !format!("{ran:?}").contains(KEY),
            "{scheme:?}: {ran:?}"
        );
    }
    // A secret of Stripe is used as it is written.
    let ran = verify(
        &["--scheme", "stripe"],
        &signed(&Stripe::default(), decoded, now),
    );
    assert_eq!(ran.status, 1, "{ran:?}");
}
