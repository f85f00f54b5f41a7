//! What holds for every scheme and every request.

use offhook::Timestamp;
use offhook::signature::{
    Challenge, EvolutionJwt, Generic, Headers, Meta, Refusal, Scheme, Secret, Slack,
    StandardWebhooks, Stripe, Token, Twilio, XWebhookSignature,
};

use super::Input;

/// The schemes of one fuzz target.
pub fn of(target: &str) -> Vec<Box<dyn Scheme>> {
    match target {
        "hmac" => Generic::presets()
            .map(|name| Box::new(Generic::preset(name).expect("a preset")) as Box<dyn Scheme>)
            .chain([Box::new(XWebhookSignature) as Box<dyn Scheme>])
            .collect(),
        "standard_webhooks" => vec![Box::new(StandardWebhooks::default())],
        "stripe" => vec![Box::new(Stripe::default())],
        "slack" => vec![Box::new(Slack::default())],
        "meta" => vec![Box::new(Meta::new(secret()))],
        "token" => vec![
            Box::new(Token::new("X-Token").prefix("Bearer ")),
            Box::new(Token::telegram()),
        ],
        "evolution_jwt" => vec![Box::new(EvolutionJwt)],
        "twilio" => vec![Box::new(
            Twilio::new("https://me.example/twilio?a=%2F").expect("an address"),
        )],
        other => panic!("{other}"),
    }
}

pub const TARGETS: [&str; 8] = [
    "hmac",
    "standard_webhooks",
    "stripe",
    "slack",
    "meta",
    "token",
    "evolution_jwt",
    "twilio",
];

/// No request makes one of these schemes panic. What each signs it verifies. An altered signature, a foreign one
/// and another body are not accepted.
pub fn check(schemes: &[Box<dyn Scheme>], input: &[u8]) {
    let mut input = Input(input);
    let mut number = || usize::from(input.byte().unwrap_or_default());
    let scheme = schemes[number() % schemes.len()].as_ref();
    let (at, bits, lengths) = (
        number(),
        number(),
        [number() % 64, number() % 64, number() % 64],
    );
    let values = lengths.map(|length| text(input.bytes(length)));
    let target = text(input.bytes(64));
    let (body, secret, now) = (input.0, secret(), Timestamp::UNIX_EPOCH);

    let signed = scheme.sign(body, &secret, now);
    let mut head = Head {
        headers: signed
            .into_iter()
            .map(|one| (one.name.into_owned(), one.value))
            .collect(),
        target: None,
    };
    let right = scheme.claim(&head, now).expect("its own signature");
    assert!(scheme.matches(&right, body, &secret));
    assert!(!scheme.matches(&right, body, &Secret::new("key2").expect("not empty")));
    let is_form = scheme.name() == "twilio";
    if !scheme.sends_secret() && !is_form {
        let longer = [body, b"x"].concat();
        assert!(!scheme.matches(&right, &longer, &secret));
    }

    let (which, place) = (at % head.headers.len(), at / 2);
    let value = &mut head.headers[which].1;
    let mut altered: Vec<char> = value.chars().collect();
    let place = place % altered.len();
    altered[place] = char::from(32 + (bits % 95) as u8);
    *value = altered.into_iter().collect();
    if let Ok(claim) = scheme.claim(&head, now)
        && scheme.matches(&claim, body, &secret)
    {
        // The same signature written otherwise, such as in capitals.
        let has = |one: &Vec<u8>| right.signatures.contains(one);
        assert!(claim.signatures.iter().any(has));
        assert_eq!((&claim.before, &claim.after), (&right.before, &right.after));
    }

    let names = scheme.claim_headers().into_iter();
    let forged = Head {
        headers: names.zip(values).collect(),
        target: Some(&target),
    };
    if let Ok(claim) = scheme.claim(&forged, now) {
        // Where the secret itself is sent, a fuzzer may find it.
        assert!(scheme.sends_secret() || !scheme.matches(&claim, body, &secret));
    }
    let _ = scheme.claimed_time(&forged);
    if let Some(handshake) = scheme.handshake() {
        let _ = handshake(body);
    }
    if let Challenge::Echo(echo) = scheme.challenge(&target) {
        assert!(echo.len() <= 1024);
    }
    let found = offhook::signature::diagnose(scheme, &forged, body, &secret, now);
    assert!(found.iter().all(|finding| !finding.why.is_empty()));
    let _ = Twilio::new(target.clone());
}

fn secret() -> Secret {
    Secret::new("key").expect("not empty")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

struct Head<'a> {
    headers: Vec<(String, String)>,
    target: Option<&'a str>,
}

impl Headers for Head<'_> {
    fn value(&self, name: &str) -> Result<&[u8], Refusal> {
        let is_same = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        let mut values = self.headers.iter().filter(is_same);
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
