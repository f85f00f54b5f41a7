//! [`Search`]: which usual mistake produces exactly the bytes of a signature.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::claims::Content;
use super::finding::Finding;
use super::form::Form;
use super::{templates, variants};
use crate::signature::scheme::{Headers, Scheme};
use crate::signature::secret::{Algorithm, Mac, Secret};
use crate::signature::standard_webhooks::decoded;

/// A request whose signature is to be explained.
pub(super) struct Search<'a> {
    /// `None` if headers that are signed are wrong.
    content: Option<Content>,
    body: &'a [u8],
    secret: &'a [u8],
    /// The key that the scheme makes of the secret.
    key: Cow<'a, [u8]>,
    /// Other keys, each with its finding.
    keys: Vec<(Vec<u8>, Finding)>,
    /// What other templates would sign, each with its finding.
    templates: Vec<(Vec<u8>, Finding)>,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        scheme: &dyn Scheme,
        form: &Form,
        headers: &dyn Headers,
        content: Option<Content>,
        body: &'a [u8],
        secret: &'a Secret,
    ) -> Self {
        let text = secret.expose();
        let is_standard = scheme.name() == "standard-webhooks";
        let key = Some(secret).filter(|_| is_standard).and_then(decoded);
        let mut keys = variants::keys(text);
        if is_standard {
            keys.insert(0, variants::undecoded(text));
        }
        Self {
            content,
            body,
            secret: text,
            key: key.map_or(Cow::Borrowed(text), Cow::Owned),
            keys,
            templates: templates::others(form, headers, body),
        }
    }

    /// What explains the bytes: the form alone, another key, another body, both, or another template.
    pub(super) fn cause(&self, signature: &[u8], algorithm: Algorithm) -> Option<Vec<Finding>> {
        let is_hmac = |key: &[u8], signed: &[u8]| -> bool {
            let mut mac = Mac::new(algorithm, key);
            mac.update(signed);
            mac.finish().ct_eq(signature).into()
        };
        let of_content = self.content.as_ref().and_then(|content| {
            let same_body = std::iter::once((Cow::Borrowed(self.body), None));
            let others = variants::bodies(self.body);
            let others = others.map(|(body, finding)| (body, Some(finding)));
            same_body.chain(others).find_map(|(tried, altered)| {
                let signed = content.around(&tried);
                if is_hmac(&self.key, &signed) {
                    return Some(altered.into_iter().collect());
                }
                if altered.is_some() && self.body.len() > BOTH_UP_TO {
                    return None;
                }
                let other_key = self.keys.iter().find(|(key, _)| is_hmac(key, &signed));
                let is_exchanged = || is_hmac(&signed, self.secret);
                let finding = other_key
                    .map(|(_, finding)| finding.clone())
                    .or_else(|| is_exchanged().then(|| Finding::new("exchanged", OTHER_WAY)))
                    .or_else(|| plain_hash(signature, self.secret, &signed))?;
                Some([finding].into_iter().chain(altered).collect())
            })
        });
        of_content.or_else(|| {
            let mut templates = self.templates.iter();
            let found = templates.find(|(signed, _)| is_hmac(&self.key, signed));
            found.map(|(_, finding)| vec![finding.clone()])
        })
    }
}

/// Finds hashes of the body that are not an HMAC.
fn plain_hash(bytes: &[u8], secret: &[u8], body: &[u8]) -> Option<Finding> {
    let table: [(_, [&[u8]; 2], _); 3] = [
        ("plain-sha256", [body, b""], PLAIN),
        ("secret-then-body", [secret, body], SECRET_FIRST),
        ("body-then-secret", [body, secret], BODY_FIRST),
    ];
    let found = table.into_iter().find(|(_, [first, second], _)| {
        let hash = Sha256::new_with_prefix(first).chain_update(second);
        hash.finalize().as_slice() == bytes
    });
    found.map(|(reason, _, why)| Finding::new(reason, why))
}

const OTHER_WAY: &str = "it is the HMAC with key and body exchanged";
const PLAIN: &str = "it is the plain SHA-256 of the body, without the secret";
const SECRET_FIRST: &str = "it is the SHA-256 of secret and body joined, not an HMAC";
const BODY_FIRST: &str = "it is the SHA-256 of body and secret joined, not an HMAC";

/// The longest body for which another key and another body are tried together, in bytes. With a longer
/// one it takes too long.
const BOTH_UP_TO: usize = 64 * 1024;
