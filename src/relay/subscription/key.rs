//! [`SubscriptionKey`]: a session and a name, which identify a subscription.

use std::fmt;

/// Identifies a subscription.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SubscriptionKey {
    session: String,
    name: String,
}

impl SubscriptionKey {
    /// The key of the subscription `name` to `session`, which is `*` for all sessions.
    ///
    /// # Errors
    ///
    /// When the session is empty, longer than 1,024 bytes or has a control character, or the name is
    /// not 1 to 64 letters, digits, `-`, `_` and `.`.
    pub(crate) fn new(
        session: impl Into<String>,
        name: impl Into<String>,
    ) -> Result<Self, SubscriptionKeyError> {
        let (session, name) = (session.into(), name.into());
        if session.is_empty()
            || session.len() > MAX_SESSION
            || session.chars().any(char::is_control)
        {
            return Err(SubscriptionKeyError::Session);
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
            return Err(SubscriptionKeyError::Name(
                name.chars().take(MAX_NAME).collect(),
            ));
        }
        Ok(Self { session, name })
    }

    /// The session's id, or `*` for all.
    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    /// The subscription's name, unique in the session.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name of its consumer. It is unambiguous, because a name has no colon.
    pub(crate) fn consumer(&self) -> String {
        format!("subscription:{}:{}", self.session, self.name)
    }

    /// The name of its document. It is unambiguous, because a name has no slash.
    pub(crate) fn document(&self, prefix: &str) -> String {
        format!("{prefix}{}/{}", self.session, self.name)
    }
}

/// As logs and errors show it.
impl fmt::Display for SubscriptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} to session {:?}", self.name, self.session)
    }
}

/// Why a session and a name are not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubscriptionKeyError {
    /// The session is not allowed.
    #[error(
        "a session's id here has 1 to {MAX_SESSION} bytes and no control character; * is all sessions"
    )]
    Session,
    /// The name is not allowed.
    #[error("found {0:?}, expected a name of 1 to {MAX_NAME} of A-Z a-z 0-9 - _ .")]
    Name(String),
}

/// The longest name, in bytes.
const MAX_NAME: usize = 64;

/// The longest session id that can be subscribed to, in bytes.
const MAX_SESSION: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_and_names_have_limits() {
        let long = "n".repeat(MAX_NAME + 1);
        for name in ["", "a b", "a:b", "a/b", "é", &long] {
            let error = SubscriptionKey::new("s", name).unwrap_err();
            assert!(matches!(error, SubscriptionKeyError::Name(_)), "{name}");
        }
        let long = "s".repeat(MAX_SESSION + 1);
        for session in ["", "a\nb", "\u{7f}", &long] {
            assert_eq!(
                SubscriptionKey::new(session, "n"),
                Err(SubscriptionKeyError::Session),
                "{session}"
            );
        }
        let key = SubscriptionKey::new("a:b/c*é", &long[..MAX_NAME]).unwrap();
        assert!(key.consumer().starts_with("subscription:a:b/c*é:sss"));
        assert_eq!(
            SubscriptionKey::new("*", "A-z_0.9").unwrap().document("p/"),
            "p/*/A-z_0.9"
        );
    }
}
