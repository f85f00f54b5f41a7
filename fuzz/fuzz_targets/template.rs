//! No template of the generic scheme makes it panic, and what it signs it verifies.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::Timestamp;
use offhook::signature::{Generic, Scheme, Secret};

fuzz_target!(|input: (&str, &[u8])| {
    let (template, body) = input;
    // A header of the template is the sender's to add; `sign` does not know its value.
    if template.contains("{header:") {
        return;
    }
    let Ok(scheme) = Generic::new("X-Signature").template(template) else {
        return;
    };
    let secret = Secret::new("key").expect("not empty");
    let now = Timestamp::UNIX_EPOCH;
    let signed = scheme.sign(body, &secret, now);
    let headers: Vec<_> = signed
        .iter()
        .map(|header| (header.name.as_ref(), header.value.as_str()))
        .collect();
    // The time in the signature's own header, or in one that stands twice, is refused.
    if let Ok(claim) = scheme.claim(&&headers[..], now) {
        assert!(scheme.matches(&claim, body, &secret));
    }
});
