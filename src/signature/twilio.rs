//! [`Twilio`]: the address and the sorted fields of a form are signed.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use url::form_urlencoded;

use super::reply::Reply;
use super::scheme::{Claim, Headers, Refusal, Scheme, SignedHeader};
use super::secret::{Algorithm, Encoding, Secret};

/// [Twilio](https://www.twilio.com/docs/usage/webhooks/webhooks-security): the HMAC-SHA1 of the address and the
/// sorted fields of the form, in base64.
///
/// The address is the one that Twilio was given; of the request only the path and the query are used, behind
/// its origin. Neither `Host` nor `X-Forwarded-…` count. A body that is no form is signed by the parameter
/// `bodySHA256` of the address. Without that parameter every body is read as a form, so a body that is not signed
/// is never accepted.
///
/// The id of an event is `I-Twilio-Idempotency-Token`, where that is there.
///
/// ```
/// use offhook::Timestamp;
/// use offhook::signature::{Scheme as _, Secret, Twilio};
///
/// let twilio = Twilio::new("https://me.example/twilio").unwrap();
/// let secret = Secret::new("the auth token").unwrap();
/// let signed = twilio.sign(b"Body=Hello&From=%2B1", &secret, Timestamp::UNIX_EPOCH);
/// assert_eq!(signed[0].name, "X-Twilio-Signature");
/// assert!(Twilio::new("me.example/twilio").is_none());
/// ```
#[derive(Clone)]
pub struct Twilio {
    pub(crate) public_url: String,
    pub(crate) algorithm: Option<Algorithm>,
}

impl Twilio {
    /// Twilio, which was given the address `public_url`. `None` if that is no address with `http://` or `https://`
    /// and a host.
    pub fn new(public_url: impl Into<String>) -> Option<Self> {
        let public_url = public_url.into();
        let is_address = {
            let url = url::Url::parse(&public_url).ok();
            let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
            url.is_some_and(|url| {
                url.has_host() && url.username().is_empty() && url.password().is_none()
            })
        };
        // The parser would accept other spellings of `//`, and spaces around it.
        let is_plain = public_url.starts_with("https://") || public_url.starts_with("http://");
        (is_address && is_plain).then_some(Self {
            public_url,
            algorithm: None,
        })
    }

    /// Accepts only this hash: [`Algorithm::Sha256`] with a shared key, or [`Algorithm::Sha1`]. Default: the one
    /// that the request names, which is SHA-1 if it names none.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// The address without its query, which may hold a token.
    fn shown_url(&self) -> String {
        match self.public_url.split_once('?') {
            None => self.public_url.clone(),
            Some((before, _)) => format!("{before}?…"),
        }
    }

    /// The address that was signed, for a request with this path and query.
    fn address(&self, target: Option<&str>) -> String {
        let whole = self.public_url.split('#').next().unwrap_or_default();
        match target {
            None => whole.to_owned(),
            Some(target) => {
                let (scheme, host, _) = split(whole);
                [scheme, host, target].concat()
            }
        }
    }

    /// The hash that the headers name.
    fn named(&self, headers: &dyn Headers) -> Result<Algorithm, Refusal> {
        let named = match headers.value(SETTINGS) {
            Err(Refusal::Missing) => Algorithm::Sha1,
            Err(refusal) => return Err(refusal),
            Ok(value) => {
                let items = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                let mut named = items.filter_map(|item| item.strip_prefix(b"algorithm="));
                match (named.next(), named.next()) {
                    (Some(b"HMAC_SHA256"), None) => Algorithm::Sha256,
                    (Some(b"HMAC_SHA1"), None) => Algorithm::Sha1,
                    _ => return Err(Refusal::Malformed),
                }
            }
        };
        match self.algorithm {
            Some(only) if only != named => Err(Refusal::Malformed),
            _ => Ok(named),
        }
    }
}

/// Without the query of the address.
impl fmt::Debug for Twilio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Twilio")
            .field("public_url", &self.shown_url())
            .field("algorithm", &self.algorithm)
            .finish()
    }
}

impl Scheme for Twilio {
    fn name(&self) -> &'static str {
        "twilio"
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let named = { Self::ALGORITHMS.iter() }.find(|(_, one)| Some(*one) == self.algorithm);
        vec![
            ("public_url", self.shown_url()),
            ("algorithm", named.map_or("", |(name, _)| name).to_owned()),
        ]
    }

    fn claim(&self, headers: &dyn Headers, _: Timestamp) -> Result<Claim, Refusal> {
        let value = headers.value(HEADER)?;
        let algorithm = self.named(headers)?;
        let signature = Encoding::Base64.decode_mac(value, algorithm);
        Ok(Claim {
            signatures: vec![signature.ok_or(Refusal::Malformed)?],
            before: self.address(headers.target()).into_bytes(),
            after: Vec::new(),
        })
    }

    fn matches(&self, claim: &Claim, body: &[u8], secret: &Secret) -> bool {
        let ([signature], Ok(address)) = (&claim.signatures[..], str::from_utf8(&claim.before))
        else {
            return false;
        };
        let algorithm = if signature.len() == Algorithm::Sha256.size() {
            Algorithm::Sha256
        } else {
            Algorithm::Sha1
        };
        let Some(fields) = fields(address, body) else {
            return false;
        };
        let right = both_ports(address)
            .iter()
            .fold(Choice::from(0), |right, address| {
                right | mac(secret, algorithm, address, &fields).ct_eq(signature)
            });
        right.into()
    }

    fn claim_headers(&self) -> Vec<String> {
        [HEADER, SETTINGS].map(str::to_owned).into()
    }

    /// It is the same over all tries of a request.
    fn id_header(&self) -> Option<&str> {
        Some(ID)
    }

    fn signed_address(&self) -> Option<&str> {
        Some(&self.public_url)
    }

    fn reply(&self) -> Reply {
        Reply::NoContent
    }

    /// Signs for [the address itself](Self::new).
    fn sign(&self, body: &[u8], secret: &Secret, _: Timestamp) -> Vec<SignedHeader> {
        self.sign_address(&self.address(None), body, secret)
    }

    fn sign_at(
        &self,
        target: &str,
        body: &[u8],
        secret: &Secret,
        _: Timestamp,
    ) -> Vec<SignedHeader> {
        self.sign_address(&self.address(Some(target)), body, secret)
    }
}

impl Twilio {
    /// The hashes that Twilio uses, with their names in the settings.
    pub const ALGORITHMS: [(&'static str, Algorithm); 2] =
        [("sha1", Algorithm::Sha1), ("sha256", Algorithm::Sha256)];

    fn sign_address(&self, address: &str, body: &[u8], secret: &Secret) -> Vec<SignedHeader> {
        let algorithm = self.algorithm.unwrap_or(Algorithm::Sha1);
        // What the address says of another body is signed all the same, and is not accepted.
        let fields = fields(address, body).unwrap_or_default();
        let signature = Encoding::Base64.encode(&mac(secret, algorithm, address, &fields));
        let mut signed = vec![SignedHeader::new("X-Twilio-Signature", signature)];
        if algorithm == Algorithm::Sha256 {
            let settings = "algorithm=HMAC_SHA256";
            signed.push(SignedHeader::new(
                "X-Twilio-Webhooks-Signature-Settings",
                settings,
            ));
        }
        signed
    }
}

fn mac(secret: &Secret, algorithm: Algorithm, address: &str, fields: &str) -> Vec<u8> {
    let mut mac = secret.mac(algorithm);
    mac.update(address.as_bytes());
    mac.update(fields.as_bytes());
    mac.finish()
}

/// What is signed after the address; `None` if the address has the hash of another body, or the form has more fields
/// than Twilio sends: whoever has no secret may post one of millions.
pub(super) fn fields(address: &str, body: &[u8]) -> Option<String> {
    let query = address.split_once('?').map_or("", |(_, query)| query);
    let parameters = form_urlencoded::parse(query.as_bytes());
    let mut hashes = parameters.filter(|(name, _)| name == "bodySHA256");
    if let Some((_, hash)) = hashes.next() {
        let is_only = hashes.next().is_none();
        let expected = Encoding::Hex.encode(&Sha256::digest(body));
        let is_right: bool = expected
            .as_bytes()
            .ct_eq(hash.to_ascii_lowercase().as_bytes())
            .into();
        return (is_only && is_right).then(String::new);
    }
    let parsed = form_urlencoded::parse(body).take(MAX_FIELDS + 1);
    let mut fields: Vec<(Cow<'_, str>, Cow<'_, str>)> = parsed.collect();
    if fields.len() > MAX_FIELDS {
        return None;
    }
    fields.sort_unstable();
    fields.dedup();
    let texts = fields.iter().flat_map(|(name, value)| [&**name, &**value]);
    Some(texts.collect())
}

/// The address without a port and with it, because either may be signed.
fn both_ports(address: &str) -> [String; 2] {
    let (scheme, host, rest) = split(address);
    let after = host.rfind(']').map_or(0, |end| end + 1);
    let port = host[after..].find(':').map(|at| after + at);
    let default = if scheme == "http://" { ":80" } else { ":443" };
    let (name, port) = host.split_at(port.unwrap_or(host.len()));
    let port = if port.is_empty() { default } else { port };
    [
        [scheme, name, rest].concat(),
        [scheme, name, port, rest].concat(),
    ]
}

/// The scheme with `://`, the host with its port, and the rest, each as it is written.
fn split(address: &str) -> (&str, &str, &str) {
    let at = address.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = address.split_at(at);
    let (host, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    (scheme, host, rest)
}

/// Ten times what the largest forms of Twilio have.
const MAX_FIELDS: usize = 1024;

const HEADER: &str = "x-twilio-signature";
const ID: &str = "i-twilio-idempotency-token";
const SETTINGS: &str = "x-twilio-webhooks-signature-settings";

#[cfg(test)]
mod tests {
    use super::*;

    struct At<'a>(&'a str, &'a [(&'a str, &'a str)]);

    impl Headers for At<'_> {
        fn value(&self, name: &str) -> Result<&[u8], Refusal> {
            self.1.value(name)
        }

        fn target(&self) -> Option<&str> {
            Some(self.0)
        }
    }

    #[test]
    fn a_form_of_very_many_fields_is_not_read() {
        let form = |fields: usize| vec!["a=1"; fields].join("&");
        assert!(fields("https://a/", form(MAX_FIELDS).as_bytes()).is_some());
        assert_eq!(fields("https://a/", form(MAX_FIELDS + 1).as_bytes()), None);
    }

    fn signed(twilio: &Twilio, body: &str) -> Vec<(String, String)> {
        let secret = Secret::new("token").unwrap();
        let signed = twilio.sign(body.as_bytes(), &secret, Timestamp::UNIX_EPOCH);
        let pair = |header: SignedHeader| (header.name.into_owned(), header.value);
        signed.into_iter().map(pair).collect()
    }

    fn judge(
        at: &Twilio,
        target: &str,
        headers: &[(String, String)],
        body: &str,
    ) -> Result<bool, Refusal> {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        let claim = at.claim(&At(target, &headers), Timestamp::UNIX_EPOCH)?;
        Ok(at.matches(&claim, body.as_bytes(), &Secret::new("token").unwrap()))
    }

    #[test]
    fn the_path_of_the_request_stands_behind_the_origin() {
        let twilio = |url: &str| Twilio::new(url).unwrap();
        let session = twilio("https://me.example/t/session?a=%2F");
        let headers = signed(&session, "B=2&A=1+x");
        let source = twilio("https://me.example/t");
        for (at, target, body, expected) in [
            (&source, "/t/session?a=%2F", "B=2&A=1+x", true),
            (&source, "/t/session?a=%2F", "A=1%20x&B=2&B=2", true),
            (
                &twilio("https://me.example:443/t#rc=2"),
                "/t/session?a=%2F",
                "B=2&A=1+x",
                true,
            ),
            (&source, "/t/session?a=/", "B=2&A=1+x", false),
            (&source, "/t/session", "B=2&A=1+x", false),
            (&source, "/t/session?a=%2F", "B=2&A=1+x&C=", false),
            (&source, "/t/session?a=%2F", "{}", false),
            (
                &twilio("http://me.example/t"),
                "/t/session?a=%2F",
                "B=2&A=1+x",
                false,
            ),
            (
                &twilio("https://me.example:8443/t"),
                "/t/session?a=%2F",
                "B=2&A=1+x",
                true,
            ),
        ] {
            assert_eq!(
                judge(at, target, &headers, body),
                Ok(expected),
                "{at:?} {target} {body}"
            );
        }
    }

    #[test]
    fn a_body_that_is_no_form_needs_its_hash() {
        let hash = Encoding::Hex.encode(&Sha256::digest(b"{}"));
        let target = format!("/t?bodySHA256={hash}");
        let twilio = Twilio::new(format!("https://me.example{target}")).unwrap();
        let headers = signed(&twilio, "{}");
        assert_eq!(judge(&twilio, &target, &headers, "{}"), Ok(true));
        assert_eq!(judge(&twilio, &target, &headers, "{ }"), Ok(false));
        let twice = format!("{target}&bodySHA256={hash}");
        let headers = signed(
            &Twilio::new(format!("https://me.example{twice}")).unwrap(),
            "",
        );
        assert_eq!(judge(&twilio, &twice, &headers, "{}"), Ok(false));
    }

    #[test]
    fn the_hash_is_the_named_one() {
        let twilio = || Twilio::new("https://me.example/t").unwrap();
        let new = signed(&twilio().algorithm(Algorithm::Sha256), "A=1");
        assert_eq!(judge(&twilio(), "/t", &new, "A=1"), Ok(true));
        let only = twilio().algorithm(Algorithm::Sha256);
        assert_eq!(judge(&only, "/t", &new, "A=1"), Ok(true));
        let old = signed(&twilio(), "A=1");
        assert_eq!(judge(&only, "/t", &old, "A=1"), Err(Refusal::Malformed));
        assert_eq!(
            judge(&twilio(), "/t", &new[..1], "A=1"),
            Err(Refusal::Malformed)
        );
        for settings in [
            "",
            "algorithm=HMAC_MD5",
            "algorithm=HMAC_SHA256,algorithm=HMAC_SHA1",
        ] {
            let settings = (
                "X-Twilio-Webhooks-Signature-Settings".to_owned(),
                settings.to_owned(),
            );
            let headers = [new[0].clone(), settings];
            assert_eq!(
                judge(&twilio(), "/t", &headers, "A=1"),
                Err(Refusal::Malformed)
            );
        }
    }

    #[test]
    fn a_query_is_compared_and_not_shown() {
        let twilio = |query: &str| -> Box<dyn Scheme> {
            Box::new(Twilio::new(format!("https://me.example/t{query}")).unwrap())
        };
        let shown = |scheme: &dyn Scheme| scheme.parameters()[0].1.clone();
        assert_eq!(shown(&*twilio("")), "https://me.example/t");
        let token = twilio("?token=hidden");
        assert_eq!(shown(&*token), "https://me.example/t?…");
        assert!(!serde_json::to_string(&*token).unwrap().contains("hidden"));
        assert!(!format!("{token:?}").contains("hidden"));
        assert!(*token == *twilio("?token=hidden"));
        assert!(*token != *twilio("?token=other"));
    }

    #[test]
    fn addresses() {
        for good in ["https://a", "http://a:80/b?c", "https://[::1]:5000/x"] {
            assert!(Twilio::new(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "a",
            "//a",
            "ftp://a",
            "https:a",
            " https://a",
            "https://u:p@a/",
            "https://",
        ] {
            assert!(Twilio::new(bad).is_none(), "{bad}");
        }
        let both = both_ports("https://[::1]:5000/x?y=:");
        assert_eq!(both, ["https://[::1]/x?y=:", "https://[::1]:5000/x?y=:"]);
    }
}
