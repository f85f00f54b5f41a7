//! URLs as logs, errors and summaries show them: enough to know which one it is, and no token.

use url::Url;

/// A URL without what may be a token: its query, and each part of its path of [`TOKEN`] characters or
/// more. The fragment is not sent anywhere, and not shown; nor is a user.
pub(crate) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let mut shown = format!("{}://{host}", url.scheme());
    if let Some(port) = url.port() {
        shown += &format!(":{port}");
    }
    for part in url.path().trim_start_matches('/').split('/') {
        shown.push('/');
        shown += if part.len() < TOKEN { part } else { "…" };
    }
    if url.query().is_some() {
        shown += "?…";
    }
    shown
}

/// From how many characters on a part of a path may be a token: as many as a source's `path_token` has
/// at least.
const TOKEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_may_be_a_token_is_left_out() {
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
