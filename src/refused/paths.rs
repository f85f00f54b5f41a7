//! Paths as they are shown, and the source that was probably meant by one.

use super::known::KnownSource;
use crate::signature::Finding;

/// A path without what may be a token: a segment of 16 bytes or more is `…`, as the shortest path token has so many.
/// Without a query, and cut after 200 bytes.
pub(crate) fn shown_path(path: &str) -> String {
    shown_below("", path)
}

/// As [`shown_path`]; what it begins with, `known`, is shown as it is.
pub(super) fn shown_below(known: &str, path: &str) -> String {
    let below = path.strip_prefix(known);
    let below = below.filter(|below| below.is_empty() || below.starts_with('/'));
    let (mut shown, rest) = match below {
        Some(below) => (known.to_owned(), below),
        None => (String::new(), path),
    };
    for (index, segment) in rest.split('/').enumerate() {
        if index > 0 {
            shown.push('/');
        }
        if segment.len() >= SHORTEST_TOKEN || shown.len() > LONGEST {
            shown.push('…');
        } else {
            shown.push_str(segment);
        }
        if shown.len() > LONGEST {
            break;
        }
    }
    shown
}

/// Why no source has this path (which is decoded), as far as that can be told.
pub(super) fn misdirected(path: &str, known: &[KnownSource]) -> Finding {
    let without_slash = path.strip_suffix('/').unwrap_or(path);
    let mut sources = known.iter();
    let token = sources.find(|source| source.path_token.is_some() && source.path == without_slash);
    if let Some(source) = token {
        let why = format!(
            "the path_token of the source {} is missing at its end",
            source.name
        );
        return Finding::new("path-token-missing", why);
    }
    let shown = shown_path(path);
    match nearest(without_slash, known) {
        Some(near) => {
            let why = format!("no source has the path {shown}; did you mean {near}?");
            Finding::new("path-near", why)
        }
        None => Finding::new("path-unknown", format!("no source has the path {shown}")),
    }
}

/// The path of a source that differs in little from this one, or from this one without its last segment, or that
/// is the end of it.
fn nearest<'a>(path: &str, known: &'a [KnownSource]) -> Option<&'a str> {
    if path.len() > LONGEST {
        return None;
    }
    let parent = path.rsplit_once('/').map(|(parent, _)| parent);
    let tried = [Some(path), parent.filter(|parent| !parent.is_empty())];
    let judged = known.iter().filter_map(|source| {
        let own = source.path.as_str();
        let distance = |path: &str| {
            if path.ends_with(own) || path.eq_ignore_ascii_case(own) {
                return 1;
            }
            let letters = strsim::damerau_levenshtein(&path.to_lowercase(), &own.to_lowercase());
            letters + 1
        };
        let distance = tried.into_iter().flatten().map(distance).min()?;
        let allowed = (own.len() / 4).clamp(1, 3) + 1;
        (distance <= allowed).then_some((distance, own))
    });
    judged.min().map(|(_, own)| own)
}

/// The shortest path token that the settings allow.
const SHORTEST_TOKEN: usize = 16;

const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::dialect::{BodyReader, Codeskytz, Hints};
    use crate::signature::{Secret, Secrets, Verifier, VerifySignature, XWebhookSignature};

    fn known(path: &str, token: Option<&str>) -> KnownSource {
        KnownSource {
            name: format!("the source of {path}"),
            path: path.to_owned(),
            scheme: Arc::new(XWebhookSignature),
            secrets: Secrets::default(),
            sessions: Vec::new(),
            path_token: token.map(|token| Secret::new(token).unwrap()),
            verify: VerifySignature::new(Verifier::new("s")),
            reader: BodyReader::new(Arc::new(Codeskytz), Hints::default(), 1024),
        }
    }

    #[test]
    fn what_may_be_a_token_is_not_shown() {
        let long = "/a".repeat(1000);
        let table = [
            ("/webhook", "/webhook"),
            ("/webhook/", "/webhook/"),
            ("/plain/0123456789abcde", "/plain/0123456789abcde"),
            ("/plain/0123456789abcdef", "/plain/…"),
            ("/plain/0123456789abcdef/s1", "/plain/…/s1"),
            ("/0123456789abcdef", "/…"),
            ("", ""),
        ];
        for (path, shown) in table {
            assert_eq!(shown_path(path), shown);
        }
        assert!(shown_path(&long).len() < 210);
        let (own, path) = ("/a-long-path-of-a-source", "/a-long-path-of-a-source/s1");
        assert_eq!(shown_below(own, path), path);
        assert_eq!(shown_below(own, "/a-long-path-of-a-source2/s1"), "/…/s1");
    }

    #[test]
    fn the_nearest_path_is_named() {
        let sources = [
            known("/webhook", None),
            known("/partner/in", None),
            known("/plain", Some("0123456789abcdef")),
        ];
        let found = |path: &str| {
            let finding = misdirected(path, &sources);
            let near = finding.why.split("did you mean ").nth(1);
            let near = near.map(|near| near.trim_end_matches('?').to_owned());
            (finding.reason, near)
        };
        let near = |path: &str| ("path-near", Some(path.to_owned()));
        for path in [
            "/webhooks",
            "/webhoook",
            "/WebHook",
            "/webhooks/s1",
            "/api/webhook",
            "/wehbook",
        ] {
            assert_eq!(found(path), near("/webhook"), "{path}");
        }
        assert_eq!(found("/partners/in"), near("/partner/in"));
        for path in ["/plain", "/plain/"] {
            assert_eq!(found(path), ("path-token-missing", None));
        }
        for path in ["/", "/favicon.ico", "/.env", "/wp-login.php"] {
            assert_eq!(found(path), ("path-unknown", None), "{path}");
        }
    }
}
