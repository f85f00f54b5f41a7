//! What to do about each reason why a request was refused.

/// What to do. `reason` is the fixed name of a finding.
pub(super) fn advice(reason: &str) -> &'static str {
    of_request(reason).unwrap_or_else(|| of_signature(reason))
}

/// Of what is wrong beside the signature itself.
fn of_request(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "too-large" => {
            "Raise server.max_body if the sender is to be accepted; some senders never try again."
        }
        "too-slow" => {
            "Look at the line to the sender, and at server.request_timeout and server.min_body_rate."
        }
        "path-near" => "Correct the URL at the sender.",
        "path-token-missing" | "path-token" => {
            "Give the sender the whole URL: the path of the source, and its path_token behind that."
        }
        "path-unknown" => "If a sender is to post there, add a [[sources]] with this path.",
        "method" => {
            "Senders POST. If the sender tries the URL before it uses it, set probe = true for the source."
        }
        "accepted-now" => "Verify it again: offhook refused verify.",
        "other-session" | "own-secrets" => {
            "Let the sender use the secret of this session; or correct its secrets in the settings. It is not \
             accepted with another one's."
        }
        "other-source" => {
            "Let the sender post to the path of that source; or correct the secrets of the two."
        }
        "other-scheme" => "Give the source the scheme of the sender, as the suggestion shows.",
        "no-scheme" => {
            "This version of offhook has no scheme for it. A source with unsigned = true can take it."
        }
        "session-hidden" => {
            "Let the sender post to the path with its session, or without Content-Encoding."
        }
        "source-gone" => {
            "The settings have no source of this name any more; put it back to verify this again."
        }
        _ => return None,
    })
}

/// Of what is wrong with the signature.
fn of_signature(reason: &str) -> &'static str {
    match reason {
        "missing" => {
            "The sender must add that header. A gateway does so when the webhook is registered with a secret."
        }
        "repeated" => "Let the sender, and every proxy on the way, send that header once.",
        "malformed-header" => "Let the sender write that header as its scheme says.",
        "timestamp" => {
            "Set the clocks of both machines; a sender must sign again when it tries again. tolerance of the \
             source says how far a timestamp may be off."
        }
        "address" => {
            "Give the source the public_url that the sender was given, letter by letter; a proxy must not change path or query."
        }
        "quoted" | "header-name" => "Send the signature alone.",
        "prefix" => {
            "Send what the scheme says in front of it; or give the source scheme = \"hmac\" with this prefix."
        }
        "length" => {
            "Sign with the HMAC that the scheme says, and see that nothing cuts the signature."
        }
        "base64" | "not-hex" => {
            "Write the HMAC in hexadecimal: hexdigest() in Python, digest(\"hex\") in Node.js; or give the \
             source scheme = \"hmac\" with encoding = \"base64\"."
        }
        "hex" | "not-base64" | "base64-url" => {
            "Write the HMAC in base64 with its standard alphabet: digest(\"base64\") in Node.js."
        }
        "algorithm" => {
            "Let the sender use the other hash; or give the source scheme = \"hmac\" with this algorithm."
        }
        "template" => {
            "Let the sender sign what the scheme says; or give the source scheme = \"hmac\" with this template."
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
        "secret-undecoded" => {
            "Let the sender decode what follows whsec_ from base64, and use that as the key."
        }
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
