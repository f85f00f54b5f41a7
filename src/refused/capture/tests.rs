use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::super::kept::header_map;
use super::*;
use crate::dialect::Codeskytz;
use crate::signature::{KeptHead, Scheme as _, XWebhookSignature};
use crate::signature::{Secret, Verifier, VerifySignature};

fn map(headers: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

#[test]
fn credentials_are_not_shown() {
    let large = "x".repeat(MOST_VALUES);
    let map = map(&[
        ("host", "h"),
        ("accept", "a"),
        ("authorization", "hidden"),
        ("cookie", "hidden"),
        ("x-api-key", "hidden"),
        ("x-access-token", "hidden"),
        ("x-session-id", "hidden"),
        ("x-routing-key", "hidden"),
        ("x-webhook-signature", "s"),
        ("webhook-id", "i"),
        ("x-own-auth-signature", "needed"),
        ("x-large", &large),
    ]);
    let (kept, is_whole) = headers(&map, &["x-own-auth-signature".to_owned()]);
    assert_eq!((kept.len(), is_whole), (map.len(), true));
    let of = |name: &str| {
        let one = kept.iter().find(|one| one.name.as_str() == name).unwrap();
        (one.value.is_some(), one.is_shown)
    };
    for name in [
        "authorization",
        "cookie",
        "x-api-key",
        "x-access-token",
        "accept",
    ] {
        assert_eq!(of(name), (false, false), "{name}");
    }
    assert_eq!(of("x-own-auth-signature"), (true, false));
    assert!(of("x-large").1);
}

/// What an event has of headers when it is accepted at once, it has when it is verified later.
#[test]
fn what_is_stored_with_an_event_is_kept() {
    let map = map(&[
        ("x-session-id", "1"),
        ("x-routing-key", "2"),
        ("x-other", "3"),
    ]);
    let (kept, _) = headers(&map, &[]);
    for (name, is_shown) in [
        ("x-session-id", false),
        ("x-routing-key", false),
        ("x-other", true),
    ] {
        let one = kept.iter().find(|one| one.name.as_str() == name).unwrap();
        assert_eq!(
            (one.value.is_some(), one.is_shown),
            (true, is_shown),
            "{name}"
        );
    }
}

/// Without a header that it needs a request is not judged.
#[test]
fn what_has_no_room_for_its_needed_headers_is_not_whole() {
    let (half, needed) = (
        "x".repeat(MOST_NEEDED / 2),
        ["a".to_owned(), "b".to_owned()],
    );
    assert!(headers(&map(&[("a", &half), ("b", &half)]), &needed).1);
    let (kept, is_whole) = headers(
        &map(&[("a", &half), ("b", &half), ("content-encoding", "gzip")]),
        &needed,
    );
    assert_eq!((kept.len(), is_whole), (3, false));
}

const SHARED: &str = "the-secret-of-the-source";
const OWN: &str = "the-secret-of-the-session";

fn verify() -> VerifySignature {
    let secret = |text| Secret::new(text).unwrap();
    let verifier = Verifier::new("s").secret(secret(SHARED));
    let verifier = verifier.session("own", secret(OWN).into());
    VerifySignature::new(verifier.dialect(std::sync::Arc::new(Codeskytz), 1 << 20))
}

fn zipped(body: &str) -> Bytes {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(body.as_bytes()).unwrap();
    gzip.finish().unwrap().into()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever else is sent, what is kept is judged as what was sent: with each secret, whether the body hides the
    /// session that it names or not.
    #[test]
    fn what_is_kept_is_judged_as_what_came(
        others in prop::collection::vec(("x-[a-z]{1,8}|content-encoding|accept", 0..3000_usize), 0..20),
        (is_zipped, is_named, secret, is_repeated) in (any::<bool>(), any::<bool>(), 0..3_usize, prop::bool::weighted(0.1)),
    ) {
        let session = if is_named { "own" } else { "other" };
        let body = format!(r#"{{"event":"message","sessionId":"{session}","messageId":"1","from":"+1"}}"#);
        let body = if is_zipped { zipped(&body) } else { Bytes::from(body) };
        let key = Secret::new([SHARED, OWN, "a stranger"][secret]).unwrap();
        let at = Timestamp::UNIX_EPOCH;
        let signed = XWebhookSignature.sign(&body, &key, at);
        let mut sent = HeaderMap::new();
        for header in signed.iter().cycle().take(signed.len() * (1 + usize::from(is_repeated))) {
            let name = HeaderName::from_bytes(header.name.to_lowercase().as_bytes()).unwrap();
            sent.append(name, HeaderValue::from_str(&header.value).unwrap());
        }
        if is_zipped {
            sent.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        for (name, length) in others {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            sent.append(name, HeaderValue::from_str(&"x".repeat(length)).unwrap());
        }
        let (kept, is_whole) = headers(&sent, &XWebhookSignature.claim_headers());
        let head = |headers| KeptHead { headers, target: "/" };
        let live = verify().verify_again(&head(sent.clone()), None, body.clone(), at);
        let again = verify().verify_again(&head(header_map(&kept)), None, body, at);
        if is_whole {
            let sender = |judged: Result<crate::signature::Verified, _>| {
                judged.map(|verified| verified.sender().clone()).map_err(|refusal| format!("{refusal:?}"))
            };
            prop_assert_eq!(format!("{:?}", sender(live)), format!("{:?}", sender(again)));
        } else {
            let needed = sent.get_all(CONTENT_ENCODING).map(HeaderValue::len).sum::<usize>();
            prop_assert!(needed > MOST_NEEDED / 2, "{}", needed);
        }
    }
}
