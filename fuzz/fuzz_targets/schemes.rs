//! No header, address or body makes a scheme panic; what each signs it verifies; and no other header is taken for
//! its signature.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::Timestamp;
use offhook::signature::{
    Challenge, EvolutionJwt, Generic, Headers, Meta, Refusal, Scheme, Secret, Slack,
    StandardWebhooks, Stripe, Token, Twilio,
};

struct Head<'a> {
    headers: Vec<(&'a str, &'a str)>,
    target: Option<&'a str>,
}

impl Headers for Head<'_> {
    fn value(&self, name: &str) -> Result<&[u8], Refusal> {
        let mut values = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => Err(Refusal::Missing),
            (Some((_, value)), None) => Ok(value.as_bytes()),
            _ => Err(Refusal::Repeated),
        }
    }

    fn target(&self) -> Option<&str> {
        self.target
    }
}

fn schemes() -> Vec<Box<dyn Scheme>> {
    let verify = Secret::new("verify token").expect("not empty");
    let mut all: Vec<Box<dyn Scheme>> = vec![
        Box::new(StandardWebhooks::default()),
        Box::new(Stripe::default()),
        Box::new(Slack::default()),
        Box::new(Meta::new(verify)),
        Box::new(Token::new("X-Token").prefix("Bearer ")),
        Box::new(Token::telegram()),
        Box::new(EvolutionJwt),
        Box::new(Twilio::new("https://me.example/twilio").expect("an address")),
    ];
    for name in Generic::presets() {
        all.push(Box::new(Generic::preset(name).expect("a preset")));
    }
    all
}

fuzz_target!(|input: (u8, [&str; 3], &str, &[u8])| {
    let (which, values, target, body) = input;
    let mut schemes = schemes();
    let scheme = schemes.swap_remove(usize::from(which) % schemes.len());
    let (secret, now) = (Secret::new("key").expect("not empty"), Timestamp::UNIX_EPOCH);

    let signed = scheme.sign(body, &secret, now);
    let headers = signed.iter().map(|header| (header.name.as_ref(), header.value.as_str()));
    let right = Head {
        headers: headers.collect(),
        target: None,
    };
    let claim = scheme.claim(&right, now).expect("its own signature");
    assert!(scheme.matches(&claim, body, &secret));

    let names = scheme.claim_headers();
    let headers = names.iter().map(String::as_str).zip(values);
    let forged = Head {
        headers: headers.collect(),
        target: Some(target),
    };
    if let Ok(claim) = scheme.claim(&forged, now) {
        // Where the secret itself is sent, the fuzzer may find it.
        let is_token = matches!(scheme.name(), "token" | "telegram");
        assert!(is_token || !scheme.matches(&claim, body, &secret));
    }
    let _ = scheme.claimed_time(&forged);
    if let Some(handshake) = scheme.handshake() {
        let _ = handshake(body);
    }
    if let Challenge::Echo(text) = scheme.challenge(target) {
        assert!(target.contains("verify") && text.len() <= 1024);
    }
});
