//! [`Meta`]: the scheme of Meta's products, such as the WhatsApp Cloud API.

use jiff::Timestamp;
use url::form_urlencoded;

use super::generic::Generic;
use super::reply::Challenge;
use super::scheme::{Claim, Headers, Refusal, Scheme, SignedHeader};
use super::secret::Secret;
use super::token::is_same;

/// Meta (WhatsApp Cloud API, Messenger, Instagram): the HMAC-SHA256 of the body with the secret of the app, in
/// `X-Hub-Signature-256`.
///
/// Meta asks for the address with a GET before it uses it. With the right `hub.verify_token` it gets its
/// `hub.challenge` back; everything else is answered 403.
///
/// ```
/// use offhook::signature::{Challenge, Meta, Scheme as _, Secret};
///
/// let meta = Meta::new(Secret::new("a token of your own").unwrap());
/// let query = "hub.mode=subscribe&hub.challenge=42&hub.verify_token=a+token+of+your+own";
/// assert_eq!(meta.challenge(query), Challenge::Echo("42".to_owned()));
/// ```
#[derive(Debug, Clone)]
pub struct Meta {
    signed: Generic,
    /// Without one every challenge is refused.
    pub(crate) verify_token: Option<Secret>,
}

impl Meta {
    /// Meta, with the token that the app's settings name beside the address.
    pub fn new(verify_token: Secret) -> Self {
        Self::with(Some(verify_token))
    }

    pub(crate) fn with(verify_token: Option<Secret>) -> Self {
        Self {
            signed: Generic::preset("meta").expect("the preset exists, as a test holds"),
            verify_token,
        }
    }
}

impl Scheme for Meta {
    fn name(&self) -> &'static str {
        self.signed.name()
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        self.signed.parameters()
    }

    fn claim(&self, headers: &dyn Headers, now: Timestamp) -> Result<Claim, Refusal> {
        self.signed.claim(headers, now)
    }

    fn matches(&self, claim: &Claim, body: &[u8], secret: &Secret) -> bool {
        self.signed.matches(claim, body, secret)
    }

    fn claim_headers(&self) -> Vec<String> {
        self.signed.claim_headers()
    }

    fn other_secrets(&self) -> &[Secret] {
        self.verify_token.as_slice()
    }

    fn challenge(&self, query: &str) -> Challenge {
        let (mut mode, mut token, mut challenge) = (Once::None, Once::None, Once::None);
        let mut is_absent = true;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            is_absent &= !name.starts_with("hub.");
            match &*name {
                "hub.mode" => mode.set(value.into_owned()),
                "hub.verify_token" => token.set(value.into_owned()),
                "hub.challenge" => challenge.set(value.into_owned()),
                _ => {}
            }
        }
        if is_absent {
            return Challenge::Absent;
        }
        let (Some(expected), Once::One(mode), Once::One(token), Once::One(challenge)) =
            (&self.verify_token, mode, token, challenge)
        else {
            return Challenge::Refused;
        };
        let is_good = is_same(expected, token.as_bytes())
            && mode == "subscribe"
            && !challenge.is_empty()
            && challenge.len() <= LONGEST;
        if is_good {
            Challenge::Echo(challenge)
        } else {
            Challenge::Refused
        }
    }

    fn sign(&self, body: &[u8], secret: &Secret, now: Timestamp) -> Vec<SignedHeader> {
        self.signed.sign(body, secret, now)
    }
}

/// A parameter that must be there exactly once.
enum Once {
    None,
    One(String),
    Several,
}

impl Once {
    fn set(&mut self, value: String) {
        *self = match self {
            Self::None => Self::One(value),
            Self::One(_) | Self::Several => Self::Several,
        };
    }
}

/// The longest challenge that is sent back, in bytes.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_needs_every_parameter_once() {
        let meta = Meta::new(Secret::new("t-1").unwrap());
        let good = "hub.mode=subscribe&hub.challenge=1%2F2&hub.verify_token=t-1";
        assert_eq!(meta.challenge(good), Challenge::Echo("1/2".to_owned()));
        let long =
            format!("{good}{}", "9".repeat(LONGEST)).replace("1%2F2", &"9".repeat(LONGEST + 1));
        for query in [
            &good.replace("t-1", "t-2"),
            &good.replace("t-1", "t-1x"),
            &good.replace("t-1", ""),
            &good.replace("subscribe", "unsubscribe"),
            &good.replace("1%2F2", ""),
            &format!("{good}&hub.verify_token=t-1"),
            &format!("{good}&hub.mode=subscribe"),
            &long,
            "hub.mode=subscribe",
            "hub.=",
        ] {
            assert_eq!(meta.challenge(query), Challenge::Refused, "{query}");
        }
        for query in ["", "a=b", "mode=subscribe"] {
            assert_eq!(meta.challenge(query), Challenge::Absent, "{query}");
        }
        let without = Meta::with(None);
        assert_eq!(without.challenge(good), Challenge::Refused);
    }

    #[test]
    fn another_verify_token_is_another_scheme() {
        let scheme =
            |token: &str| -> Box<dyn Scheme> { Box::new(Meta::new(Secret::new(token).unwrap())) };
        assert!(*scheme("a") == *scheme("a"));
        assert!(*scheme("a") != *scheme("b"));
        assert!(!format!("{:?}", scheme("hidden")).contains("hidden"));
    }
}
