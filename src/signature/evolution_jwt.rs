//! [`EvolutionJwt`]: the bearer token of Evolution API, which signs no body.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::scheme::{Claim, Headers, Refusal, Scheme, SignedHeader};
use super::secret::{Algorithm, Secret};

/// Evolution API with `headers.jwt_key`: `Authorization: Bearer` and a JSON Web Token, HS256, good for ten minutes.
///
/// The token proves that the sender knows the key, and says nothing about the body: use it over TLS only.
/// Evolution never sends an event again that was answered 401, so a wrong key loses events for good.
///
/// ```
/// use offhook::Source;
/// use offhook::signature::{EvolutionJwt, Secret};
///
/// let source = Source::new("evolution")
///     .scheme(EvolutionJwt)
///     .secret(Secret::new("the jwt_key").unwrap());
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct EvolutionJwt;

impl Scheme for EvolutionJwt {
    fn name(&self) -> &'static str {
        "evolution-jwt"
    }

    fn claim(&self, headers: &dyn Headers, now: Timestamp) -> Result<Claim, Refusal> {
        let token = bearer(headers.value(HEADER)?).ok_or(Refusal::Malformed)?;
        let token = Token::read(token).ok_or(Refusal::Malformed)?;
        if token.is_over(now) {
            return Err(Refusal::Expired);
        }
        Ok(Claim {
            signatures: vec![token.signature],
            before: token.signed,
            after: Vec::new(),
        })
    }

    fn matches(&self, claim: &Claim, _: &[u8], secret: &Secret) -> bool {
        claim.is_signed_with(secret.mac(Algorithm::Sha256), b"")
    }

    fn claim_headers(&self) -> Vec<String> {
        vec![HEADER.to_owned()]
    }

    fn claimed_time(&self, headers: &dyn Headers) -> Option<Timestamp> {
        Token::read(bearer(headers.value(HEADER).ok()?)?)?.expires()
    }

    /// The token is good for ten minutes, for any body.
    fn sends_secret(&self) -> bool {
        true
    }

    fn gives_up_when_refused(&self) -> bool {
        true
    }

    fn sign(&self, _: &[u8], secret: &Secret, now: Timestamp) -> Vec<SignedHeader> {
        let now = now.as_second();
        let claims = json!({"iat": now, "exp": now + 600, "app": APP, "action": ACTION});
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut mac = secret.mac(Algorithm::Sha256);
        mac.update(signed.as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finish());
        vec![SignedHeader::new(
            "Authorization",
            format!("Bearer {signed}.{signature}"),
        )]
    }
}

/// What follows `Bearer`, in any case, as HTTP has it.
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(BEARER.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER);
    (is_bearer && token.len() <= LONGEST).then_some(token)
}

/// A token whose form is right.
struct Token {
    /// The head and the claims, as they are signed.
    signed: Vec<u8>,
    signature: Vec<u8>,
    claims: Claims,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    /// Names what the receiver must understand; Evolution writes none.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    exp: i64,
    nbf: Option<i64>,
    app: String,
    action: String,
}

impl Token {
    /// `None` for a token that Evolution does not write, whatever its signature.
    fn read(token: &[u8]) -> Option<Self> {
        let mut parts = token.split(|byte| *byte == b'.');
        let (head, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part).ok();
        let read: Head = serde_json::from_slice(&decode(head)?).ok()?;
        if read.alg != "HS256" || read.crit.is_some() {
            return None;
        }
        let signature = decode(signature)?;
        let read: Claims = serde_json::from_slice(&decode(claims)?).ok()?;
        let is_webhook = read.app == APP && read.action == ACTION;
        let is_signature = signature.len() == Algorithm::Sha256.size();
        (is_webhook && is_signature).then(|| Self {
            signed: [head, b".", claims].concat(),
            signature,
            claims: read,
        })
    }

    fn expires(&self) -> Option<Timestamp> {
        Timestamp::from_second(self.claims.exp).ok()
    }

    /// Whether it is no longer good, or not yet.
    fn is_over(&self, now: Timestamp) -> bool {
        let leeway = i64::try_from(LEEWAY.as_secs()).unwrap_or(0);
        let now = now.as_second();
        let is_early = self
            .claims
            .nbf
            .is_some_and(|nbf| nbf > now.saturating_add(leeway));
        is_early || self.claims.exp < now.saturating_sub(leeway)
    }
}

const HEADER: &str = "authorization";
const BEARER: &[u8] = b"bearer ";
const APP: &str = "evolution";
const ACTION: &str = "webhook";

/// How long a token is taken after it has expired.
const LEEWAY: Duration = Duration::from_secs(60);

/// The longest token, in bytes. Evolution's have about 200.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(head: &str, claims: &str, now: i64) -> Result<bool, Refusal> {
        let secret = Secret::new("key").unwrap();
        let [head, claims] = [head, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let mut mac = secret.mac(Algorithm::Sha256);
        mac.update(format!("{head}.{claims}").as_bytes());
        let signature = URL_SAFE_NO_PAD.encode(mac.finish());
        let value = format!("bearer {head}.{claims}.{signature}");
        let headers = [("Authorization", value.as_str())];
        let claim = EvolutionJwt.claim(&&headers[..], Timestamp::from_second(now).unwrap())?;
        Ok(EvolutionJwt.matches(&claim, b"any", &secret))
    }

    const HEAD: &str = r#"{"alg":"HS256"}"#;
    const CLAIMS: &str = r#"{"exp":1000,"app":"evolution","action":"webhook"}"#;

    #[test]
    fn only_what_evolution_writes_is_good() {
        assert_eq!(judge(HEAD, CLAIMS, 1060), Ok(true));
        assert_eq!(judge(HEAD, CLAIMS, 1061), Err(Refusal::Expired));
        for (head, claims) in [
            (r#"{"alg":"none"}"#, CLAIMS),
            (r#"{"alg":"hs256"}"#, CLAIMS),
            (r#"{"alg":"HS512"}"#, CLAIMS),
            (r#"{"alg":"HS256","alg":"none"}"#, CLAIMS),
            (r#"{"alg":"HS256","crit":["b64"]}"#, CLAIMS),
            ("{}", CLAIMS),
            (HEAD, r#"{"app":"evolution","action":"webhook"}"#),
            (
                HEAD,
                r#"{"exp":"1000","app":"evolution","action":"webhook"}"#,
            ),
            (HEAD, r#"{"exp":1000,"app":"other","action":"webhook"}"#),
            (HEAD, r#"{"exp":1000,"app":"evolution"}"#),
            (HEAD, "[]"),
        ] {
            assert_eq!(
                judge(head, claims, 0),
                Err(Refusal::Malformed),
                "{head} {claims}"
            );
        }
        let early = r#"{"exp":1000,"nbf":500,"app":"evolution","action":"webhook"}"#;
        assert_eq!(judge(HEAD, early, 439), Err(Refusal::Expired));
        assert_eq!(judge(HEAD, early, 440), Ok(true));
    }

    #[test]
    fn other_forms_are_malformed() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer a.b",
            "Bearer ...",
            "Basic YTpi",
            "a.b.c",
        ] {
            let headers = [("authorization", value)];
            let refusal = EvolutionJwt.claim(&&headers[..], Timestamp::UNIX_EPOCH);
            assert_eq!(refusal.unwrap_err(), Refusal::Malformed, "{value}");
        }
    }
}
