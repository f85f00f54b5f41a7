//! Which session a request belongs to. It is decided here and nowhere else, once, when the request is
//! verified; [`Verified`](super::Verified) carries it.
//!
//! 1. A path that names a session decides, whatever the body says.
//! 2. Otherwise, where any session of the source has secrets of its own, the body's session decides: it
//!    picks the secrets that the signature is then checked with.
//! 3. Otherwise nothing decides here, and each event of the body has the session that it names.

use std::collections::HashMap;

use super::Secrets;

/// The session of a request, and the secrets that are good for it alone.
#[derive(Debug)]
pub(super) struct Decision<'a> {
    pub(super) session: Option<String>,
    /// `None` where the source's own secrets count.
    pub(super) own: Option<&'a Secrets>,
}

/// Decides. `own` has the sessions with secrets of their own; `in_body` looks for the session that the
/// body names, which costs a look into the body.
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
            // Without such sessions nobody looks into the body.
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
