//! Whatever a signed request holds (body, encoding, session of the path) becomes an envelope; and no
//! header that is not the signature is taken for one.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use offhook::signature::{Scheme, Secret, Unverified, Verifier, XWebhookSignature};
use offhook::{Timestamp, open_verified};

fuzz_target!(|input: (&str, &str, Option<String>, &[u8])| {
    let (header, encoding, session, body) = input;
    let now = Timestamp::UNIX_EPOCH;
    let secret = Secret::new("key").expect("not empty");
    let signed = XWebhookSignature.sign(body, &secret, now);
    let verifier = Verifier::new("source").secret(secret);

    for (value, right) in [(signed[0].value.as_str(), true), (header, false)] {
        let headers = [("X-Webhook-Signature", value)];
        let Ok(claimed) = verifier.claim(&&headers[..], None, now) else {
            assert!(!right);
            continue;
        };
        let mut request = Unverified::new(body.to_vec(), now);
        request.session = session.clone();
        let value = Bytes::copy_from_slice(encoding.as_bytes());
        request.headers = vec![("content-encoding".into(), value)];
        match verifier.verify(&claimed, request) {
            Ok(verified) => {
                let (received, events) = open_verified(verified);
                assert!(!events.is_empty());
                assert_eq!(received.body, body);
            }
            Err(_) => assert!(!right),
        }
    }
});
