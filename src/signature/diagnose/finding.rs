//! [`Finding`]: one reason why a signature is wrong.

use std::borrow::Cow;

use serde::Serialize;

use super::advice::advice;

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

    /// Without what may not be shown: a sender may have sent a secret in place of a signature, or in front of it.
    pub(crate) fn without(mut self, hides: impl Fn(&[u8]) -> bool) -> Self {
        let is_in_key = |(_, value): &(_, String)| hides(value.as_bytes());
        // The text has the value of the key with escapes.
        if self.key.as_ref().is_some_and(is_in_key) || hides(self.why.as_bytes()) {
            self.key = None;
            self.why = "what was sent holds a secret, and is not shown".into();
        }
        self
    }
}

/// The finding for a signature that nothing explains.
pub(super) fn unexplained() -> Finding {
    Finding::new("unexplained", "another secret or an altered body")
}
