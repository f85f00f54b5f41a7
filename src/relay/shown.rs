//! URLs as logs, errors and summaries show them: recognizable, but without tokens.

use url::Url;

/// A URL without parts that may be tokens: its query, and each segment of its path that has
/// [`SHORTEST_TOKEN`] characters or more. User and fragment are never sent, and not shown either.
pub(crate) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let mut shown = format!("{}://{host}", url.scheme());
    if let Some(port) = url.port() {
        shown += &format!(":{port}");
    }
    for part in url.path().trim_start_matches('/').split('/') {
        shown.push('/');
        shown += if part.len() < SHORTEST_TOKEN {
            part
        } else {
            "…"
        };
    }
    if url.query().is_some() {
        shown += "?…";
    }
    shown
}

/// A path segment may be a token from this length on, which is also the minimum of a source's
/// `path_token`.
const SHORTEST_TOKEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_may_be_tokens_are_left_out() {
        let table = [
            ("https://crm.example", "https://crm.example/"),
            ("https://crm.example:443/hook/", "https://crm.example/hook/"),
            ("http://[::1]:80/a//b", "http://[::1]/a//b"),
            ("http://h:8080/p?t=hidden#hidden", "http://h:8080/p?…"),
            ("http://hidden:hidden@h/p?", "http://h/p?…"),
            (
                "https://hooks.example/services/T0123/B0123/hiddenhiddenhiddenhidden",
                "https://hooks.example/services/T0123/B0123/…",
            ),
            ("https://h/hidden-hidden-16/x", "https://h/…/x"),
            ("https://h/fifteen-letters", "https://h/fifteen-letters"),
        ];
        for (url, expected) in table {
            assert_eq!(shown(&url.parse().unwrap()), expected);
        }
    }
}
