//! [`Token`]: a secret in a header, for senders that sign nothing.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::scheme::{Claim, Headers, Refusal, Scheme, SignedHeader};
use super::secret::Secret;

/// A header that holds the secret itself, as Telegram, GitLab and headers of one's own at a gateway do.
///
/// It proves that the sender knows the secret, and says nothing about the body: use it over TLS only, with a
/// secret of 16 random characters or more.
///
/// ```
/// use offhook::signature::Token;
///
/// let gitlab = Token::new("X-Gitlab-Token");
/// let bearer = Token::new("Authorization").prefix("Bearer ");
/// ```
#[derive(Debug, Clone)]
pub struct Token {
    name: &'static str,
    pub(crate) header: String,
    pub(crate) prefix: String,
}

impl Token {
    /// The secret stands in the header `header`.
    pub fn new(header: impl Into<String>) -> Self {
        Self {
            name: "token",
            header: header.into(),
            prefix: String::new(),
        }
    }

    /// `X-Telegram-Bot-Api-Secret-Token`, with the `secret_token` that `setWebhook` was given.
    pub fn telegram() -> Self {
        Self {
            name: "telegram",
            ..Self::new("X-Telegram-Bot-Api-Secret-Token")
        }
    }

    /// The text before the secret in its header, such as `"Bearer "`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }
}

impl Scheme for Token {
    fn name(&self) -> &'static str {
        self.name
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("header", self.header.clone()),
            ("prefix", self.prefix.clone()),
        ]
    }

    fn claim(&self, headers: &dyn Headers, _: Timestamp) -> Result<Claim, Refusal> {
        let value = headers.value(&self.header.to_ascii_lowercase())?;
        let token = value.strip_prefix(self.prefix.as_bytes());
        let token = token.filter(|token| !token.is_empty());
        let token = token.ok_or(Refusal::Malformed)?;
        Ok(Claim {
            signatures: vec![Sha256::digest(token).to_vec()],
            ..Claim::default()
        })
    }

    /// Compares digests, so that neither the time nor the length tells anything of the secret.
    fn matches(&self, claim: &Claim, _: &[u8], secret: &Secret) -> bool {
        let [claimed] = &claim.signatures[..] else {
            return false;
        };
        Sha256::digest(secret.expose()).ct_eq(claimed).into()
    }

    fn claim_headers(&self) -> Vec<String> {
        vec![self.header.to_ascii_lowercase()]
    }

    fn sends_secret(&self) -> bool {
        true
    }

    fn sign(&self, _: &[u8], secret: &Secret, _: Timestamp) -> Vec<SignedHeader> {
        let token = String::from_utf8_lossy(secret.expose());
        let value = format!("{}{token}", self.prefix);
        vec![SignedHeader::new(self.header.clone(), value)]
    }
}

/// Whether a text is the secret; in constant time, also for texts of other lengths.
pub(super) fn is_same(secret: &Secret, text: &[u8]) -> bool {
    let [secret, text] = [secret.expose(), text].map(Sha256::digest);
    secret.ct_eq(&text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_alone_is_right() {
        let scheme = Token::new("Authorization").prefix("Bearer ");
        let secret = Secret::new("0123456789abcdef").unwrap();
        let judged = |value: &str| {
            let headers = [("authorization", value)];
            let claim = scheme.claim(&&headers[..], Timestamp::UNIX_EPOCH)?;
            assert!(!format!("{claim:?}").contains("0123"));
            Ok(scheme.matches(&claim, b"any", &secret))
        };
        assert_eq!(judged("Bearer 0123456789abcdef"), Ok(true));
        for value in [
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdefg",
            "Bearer x",
        ] {
            assert_eq!(judged(value), Ok(false), "{value}");
        }
        for value in ["", "Bearer ", "0123456789abcdef", "bearer 0123456789abcdef"] {
            assert_eq!(judged(value), Err(Refusal::Malformed), "{value}");
        }
    }
}
