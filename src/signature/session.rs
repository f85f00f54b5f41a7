//! Decides which session a request belongs to: only here, once, when the request is verified.
//! [`Verified`](super::Verified) carries the result.
//!
//! 1. If the path names a session, that is the session, whatever the body says.
//! 2. Otherwise, if any session of the source has its own secrets, the body's session counts: it selects
//!    the secrets that the signature is checked with.
//! 3. Otherwise nothing is decided here, and each event of the body has the session that it names.

use std::collections::HashMap;

use super::Secrets;

/// The session of a request, and the secrets that are valid only for it.
#[derive(Debug)]
pub(super) struct Decision<'a> {
    pub(super) session: Option<String>,
    /// `None` when the source's own secrets apply.
    pub(super) own: Option<&'a Secrets>,
}

/// Decides the session. `own` holds the sessions with their own secrets; `in_body` finds the session
/// that the body names, which has to read the body.
pub(super) fn decide(
    path: Option<String>,
    own: &HashMap<String, Secrets>,
    in_body: impl FnOnce() -> Option<String>,
) -> Decision<'_> {
    let session = match path {
        None if !own.is_empty() => in_body(),
        path => path,
    };
    let own = session.as_ref().and_then(|session| own.get(session));
    Decision { session, own }
}

#[cfg(test)]
mod tests {
    use super::super::Secret;
    use super::*;

    #[test]
    fn the_path_decides_then_the_body() {
        let own = HashMap::from([(
            "A".to_owned(),
            Secrets::new(vec![Secret::new("k").unwrap()]),
        )]);
        let none = HashMap::new();
        let table = [
            // path, body, sessions with secrets, decided, has its own
            (Some("A"), Some("B"), &own, Some("A"), true),
            (Some("B"), Some("A"), &own, Some("B"), false),
            (None, Some("A"), &own, Some("A"), true),
            (None, Some("B"), &own, Some("B"), false),
            (None, None, &own, None, false),
            // Without such sessions the body is not read.
            (None, Some("A"), &none, None, false),
            (Some("A"), Some("A"), &none, Some("A"), false),
        ];
        for (path, body, sessions, session, has_own) in table {
            let decision = decide(path.map(str::to_owned), sessions, || {
                body.map(str::to_owned)
            });
            assert_eq!(decision.session.as_deref(), session, "{path:?} {body:?}");
            assert_eq!(decision.own.is_some(), has_own, "{path:?} {body:?}");
        }
    }
}
