//! [`KnownSource`]: what is known of a source to explain what it refuses.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dialect::BodyReader;
use crate::signature::{Scheme, Secret, Secrets, VerifySignature};

/// A source that is served now.
pub(crate) struct KnownSource {
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) scheme: Arc<dyn Scheme>,
    pub(crate) secrets: Secrets,
    pub(crate) sessions: Vec<(String, Secrets)>,
    pub(crate) path_token: Option<Secret>,
    pub(crate) verify: VerifySignature,
    pub(crate) reader: BodyReader,
}

impl KnownSource {
    /// The secrets of the source, and those of all its sessions.
    pub(super) fn all_secrets(&self) -> impl Iterator<Item = &Secret> {
        let own = self.sessions.iter().flat_map(|(_, own)| own.iter());
        self.secrets.iter().chain(own)
    }

    /// The secrets of this session, if it has its own.
    pub(super) fn own_secrets(&self, session: Option<&str>) -> Option<&Secrets> {
        let session = session?;
        let mut sessions = self.sessions.iter();
        let found = sessions.find(|(name, _)| name == session);
        found.map(|(_, secrets)| secrets)
    }
}

/// The sources that are served now, and what none of their senders may have shown.
#[derive(Default)]
pub(super) struct Known {
    pub(super) sources: Vec<KnownSource>,
    hidden: HashMap<[u8; START], Vec<Secret>>,
    /// Those that are shorter.
    short: Vec<Secret>,
}

impl Known {
    pub(super) fn new(sources: Vec<KnownSource>) -> Self {
        let mut known = Self::default();
        for source in &sources {
            let secrets = source.all_secrets().chain(&source.path_token);
            let secrets = secrets.chain(source.scheme.other_secrets());
            secrets.for_each(|secret| known.hide(secret));
        }
        Self { sources, ..known }
    }

    fn hide(&mut self, secret: &Secret) {
        match secret.expose().first_chunk() {
            Some(start) => self.hidden.entry(*start).or_default().push(secret.clone()),
            None => self.short.push(secret.clone()),
        }
    }

    /// Whether a text that a sender has sent holds a secret or a path token of any source. There may be many secrets,
    /// so it is not searched for each of them.
    pub(super) fn hides(&self, text: &[u8]) -> bool {
        let begins_with_one = |at: usize| {
            let rest = &text[at..];
            let like = rest.first_chunk().and_then(|start| self.hidden.get(start));
            let mut like = like.into_iter().flatten();
            like.any(|secret| rest.starts_with(secret.expose()))
        };
        let mut short = self.short.iter();
        (0..text.len()).any(begins_with_one)
            || short.any(|secret| memchr::memmem::find(text, secret.expose()).is_some())
    }
}

/// So many bytes at the start of a secret find it.
const START: usize = 8;

/// The source with this name.
pub(super) fn named<'a>(known: &'a [KnownSource], name: Option<&str>) -> Option<&'a KnownSource> {
    known
        .iter()
        .find(|source| Some(source.name.as_str()) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_secret_is_hidden() {
        let secrets = [
            "short",
            "12345678",
            "12345678-a",
            "12345678-b",
            "the-end-of-the-text",
        ];
        let mut known = Known::default();
        for secret in secrets {
            known.hide(&Secret::new(secret).unwrap());
        }
        for secret in secrets {
            for text in [
                secret.to_owned(),
                format!("x{secret}"),
                format!("{secret}y"),
            ] {
                assert!(known.hides(text.as_bytes()), "{text}");
            }
        }
        for text in [
            "",
            "shor",
            "1234567",
            "1234567-a",
            "the-end-of-the-tex",
            "sho rt",
        ] {
            assert!(!known.hides(text.as_bytes()), "{text}");
        }
        assert!(!Known::default().hides(b"12345678"));
    }
}
