//! What to do about each reason why a signature is wrong.

/// What to do. `reason` is the fixed name of a finding.
pub(super) fn advice(reason: &str) -> &'static str {
    match reason {
        "missing" => {
            "The sender must add the header X-Webhook-Signature. A gateway does so when the webhook is \
             registered with a secret."
        }
        "quoted" => "Send it without them.",
        "prefix" => "Send the digits alone, or after sha256= in lower case.",
        "length" => "Sign with HMAC-SHA256, and see that nothing cuts the signature.",
        "base64" | "not-hex" => {
            "Write the HMAC-SHA256 in hexadecimal: hexdigest() in Python, digest(\"hex\") in Node.js."
        }
        "algorithm" => {
            "Let the sender use SHA-256; or give the source scheme = \"hmac\" with that algorithm."
        }
        "plain-sha256" | "secret-then-body" | "body-then-secret" => {
            "Use an HMAC-SHA256 function: hmac.new(key, body, sha256) in Python, \
             createHmac(\"sha256\", key) in Node.js."
        }
        "exchanged" => "Give the secret as the key, the body as the data.",
        "documented-key" => "Set your own secret at the sender.",
        "empty-secret" => "The sender's secret is not set: check the name of its variable.",
        "secret-whitespace" => {
            "Write the secret the same way on both sides: printf '%s' adds no line break, echo does."
        }
        "secret-quotes" => {
            "Write the secret the same way on both sides; some env files keep the quotes."
        }
        "secret-decoded" => "Let the sender use the secret's text as it is as the key.",
        "body-final-line-break" => {
            "Many editors and echo add one. Keep the body byte for byte: curl --data-binary, printf '%s'."
        }
        "body-line-breaks" => {
            "Move the body as binary: no text mode, no conversion of line breaks."
        }
        "body-bom" => "Write files as UTF-8 without a byte order mark.",
        "body-whitespace" | "body-json" => {
            "Sign the very bytes that are sent, and verify the very bytes that were received: \
             serialise once, never parse and serialise again."
        }
        "body-empty" => {
            "The sender signs before it has the body, or signs a stream that was read already."
        }
        _ => {
            "Compare the secrets on both sides. Sign and verify the raw bytes as they are on the wire, \
             before any JSON parser has seen them."
        }
    }
}
