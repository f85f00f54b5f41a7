//! [`KnownSource`]: what is known of a source to explain what it refuses.

use std::sync::{Arc, OnceLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind};

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
    /// What must not be shown: its secrets, those of all its sessions, its path token, and others of its scheme.
    fn hidden(&self) -> impl Iterator<Item = &Secret> {
        let own = self.sessions.iter().flat_map(|(_, own)| own.iter());
        let secrets = self.secrets.iter().chain(own).chain(&self.path_token);
        secrets.chain(self.scheme.other_secrets())
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
    /// Finds what is hidden. Made when it is needed first, which takes a while with many secrets.
    hidden: OnceLock<Option<AhoCorasick>>,
}

impl Known {
    pub(super) fn new(sources: Vec<KnownSource>) -> Self {
        Self {
            sources,
            hidden: OnceLock::new(),
        }
    }

    /// Whether a text that a sender has sent holds a secret or a path token of any source. It takes the same time with
    /// any number of them.
    pub(super) fn hides(&self, text: &[u8]) -> bool {
        let hidden = self.hidden.get_or_init(|| {
            let secrets = self.sources.iter().flat_map(KnownSource::hidden);
            finder(secrets)
        });
        hidden.as_ref().is_none_or(|hidden| hidden.is_match(text))
    }
}

/// `None` if there are too many to find them; then everything is hidden.
fn finder<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Option<AhoCorasick> {
    let mut builder = AhoCorasick::builder();
    builder.kind(Some(AhoCorasickKind::ContiguousNFA));
    builder.build(secrets.map(Secret::expose)).ok()
}

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
        let all = secrets.map(|secret| Secret::new(secret).unwrap());
        let known = Known {
            hidden: OnceLock::from(finder(all.iter())),
            ..Known::default()
        };
        assert!(known.hidden.get().unwrap().is_some());
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
