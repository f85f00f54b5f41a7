//! [`Finding`]: one reason why a signature is wrong.

use std::borrow::Cow;

use serde::Serialize;

use super::advice::advice;
use crate::signature::secret::Secret;

/// One reason why a signature is wrong, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// A fixed name, for programs.
    pub reason: &'static str,
    /// What is wrong.
    pub why: Cow<'static, str>,
    /// What to do.
    pub advice: &'static str,
    /// A key of `scheme = "hmac"` that would make it right, with its value.
    #[serde(skip)]
    pub(crate) key: Option<(&'static str, String)>,
}

impl Finding {
    pub(crate) fn new(reason: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            why: why.into(),
            advice: advice(reason),
            key: None,
        }
    }

    /// With this key of `scheme = "hmac"` it would be right.
    pub(super) fn with_key(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.key = Some((key, value.into()));
        self
    }

    /// Replaces a secret in the text, which a sender may have sent in place of a signature.
    pub(crate) fn without(mut self, secret: &Secret) -> Self {
        if let Ok(text) = str::from_utf8(secret.expose())
            && self.why.contains(text)
        {
            self.why = self.why.replace(text, "…").into();
        }
        self
    }
}

/// The finding for a signature that nothing explains.
pub(super) fn unexplained() -> Finding {
    Finding::new("unexplained", "another secret or an altered body")
}
