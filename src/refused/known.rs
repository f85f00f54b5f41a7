//! [`KnownSource`]: what is known of a source to explain what it refuses.

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

/// The source with this name.
pub(super) fn named<'a>(known: &'a [KnownSource], name: Option<&str>) -> Option<&'a KnownSource> {
    known
        .iter()
        .find(|source| Some(source.name.as_str()) == name)
}

/// Whether a text that a sender has sent holds a secret of its source or of one of its sessions, or the path token of any.
pub(super) fn mentions_secret(text: &[u8], known: &[KnownSource], source: Option<&str>) -> bool {
    let source = named(known, source);
    let secrets = source.into_iter().flat_map(KnownSource::all_secrets);
    let tokens = known.iter().filter_map(|source| source.path_token.as_ref());
    let of_schemes = known
        .iter()
        .flat_map(|source| source.scheme.other_secrets());
    let mut hidden = secrets.chain(tokens).chain(of_schemes).map(Secret::expose);
    hidden.any(|secret| memchr::memmem::find(text, secret).is_some())
}
