//! Other keys that a sender may have made from the same secret.

use offhook::settings::DOCUMENTED_KEY;
use offhook::signature::Encoding;

use super::Finding;

/// Other keys, with the finding for each if it is the right one.
pub(super) fn variants(secret: &[u8]) -> Vec<(Vec<u8>, Finding)> {
    let mut variants = vec![
        (DOCUMENTED_KEY.to_vec(), documented()),
        // HMAC pads a key with zeros, so a zero byte is the same as an empty key.
        (vec![0], empty()),
    ];
    let trimmed = secret.trim_ascii();
    if trimmed != secret {
        variants.push((
            trimmed.to_vec(),
            whitespace("without the whitespace around your secret"),
        ));
    }
    for end in ["\n", "\r\n", " "] {
        let longer = [secret, end.as_bytes()].concat();
        variants.push((longer, whitespace("with whitespace after the secret")));
    }
    let quotes = |quote: &'static [u8]| {
        let inner = secret.strip_prefix(quote)?.strip_suffix(quote)?;
        Some((
            inner.to_vec(),
            quoted("without the quotes around your secret"),
        ))
    };
    variants.extend(quotes(b"\"").into_iter().chain(quotes(b"'")));
    for quote in [&b"\""[..], b"'"] {
        let longer = [quote, secret, quote].concat();
        variants.push((longer, quoted("with quotes around the secret")));
    }
    variants.extend(decoded(trimmed));
    variants
}

fn decoded(secret: &[u8]) -> Vec<(Vec<u8>, Finding)> {
    let mut variants = Vec::new();
    let mut add = |key: Option<Vec<u8>>, how| {
        variants.extend(key.map(|key| (key, decoding(how))));
    };
    let base64 = |text: &[u8]| {
        let standard = text.iter().map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        });
        Encoding::Base64.decode(&standard.collect::<Vec<_>>())
    };
    add(Encoding::Hex.decode(secret), "decoded from hexadecimal");
    add(base64(secret), "decoded from base64");
    if let Some(rest) = secret.strip_prefix(b"whsec_") {
        add(base64(rest), "decoded from base64 after its whsec_");
        add(Some(rest.to_vec()), "without its whsec_");
    }
    variants
}

fn documented() -> Finding {
    let why =
        "it is made with the key that the gateway's documentation prints, not with your secret";
    let advice = "Set your own secret at the sender.";
    Finding::new("documented-key", why, advice)
}

fn empty() -> Finding {
    let advice = "The sender's secret is not set: check the name of its variable.";
    Finding::new("empty-secret", "it is made with an empty secret", advice)
}

fn whitespace(how: &str) -> Finding {
    let why = format!("it is made {how}");
    let advice =
        "Write the secret the same way on both sides: printf '%s' adds no line break, echo does.";
    Finding::new("secret-whitespace", why, advice)
}

fn quoted(how: &str) -> Finding {
    let why = format!("it is made {how}");
    let advice = "Write the secret the same way on both sides; some env files keep the quotes.";
    Finding::new("secret-quotes", why, advice)
}

fn decoding(how: &str) -> Finding {
    let why = format!("it is made with the secret {how}");
    let advice = "Let the sender use the secret's text as it is as the key.";
    Finding::new("secret-decoded", why, advice)
}
