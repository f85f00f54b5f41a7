//! What a subscriber says when it refuses an event: the beginning of its answer's body, without our secrets.
//!
//! Some programs answer an error with the request that they were sent. So what proves a request is
//! replaced by stars, byte for byte, before anything is stored, also where it is escaped.

use std::ops::Range;

use super::unescape::View;

/// How much of an answer is kept, in bytes.
pub(super) const KEPT: usize = 512;

/// The text of these bytes, at most [`KEPT`], without the `hidden` ones. `None` if there is none.
pub(super) fn text(mut answer: Vec<u8>, hidden: &[Vec<u8>]) -> Option<String> {
    hide(&mut answer, hidden);
    // The last character may have been cut.
    if let Err(error) = str::from_utf8(&answer)
        && error.error_len().is_none()
    {
        answer.truncate(error.valid_up_to());
    }
    let text = String::from_utf8_lossy(&answer).trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Replaces each occurrence of a secret, in whatever notation, and its beginning at the end of an answer that
/// was cut.
fn hide(answer: &mut [u8], hidden: &[Vec<u8>]) {
    let mut views = View::of(answer).layers();
    // Where a secret ends in what could begin an escape, a further layer takes too much.
    let cut = views.iter().cloned().map(View::without_cut_escape);
    views.extend(cut.collect::<Vec<_>>());
    for secret in hidden {
        let bare = View::of(secret).unescaped().bytes;
        for view in &views {
            for secret in [secret, &bare] {
                for found in occurrences(&view.bytes, secret) {
                    answer[view.source(found)].fill(b'*');
                }
            }
        }
    }
}

/// Where `secret` is in `text`, also overlapping, and where its beginning is at the end.
fn occurrences<'a>(text: &'a [u8], secret: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
    let last = text.len().saturating_sub(SHORTEST - 1);
    let starts = 0..if secret.len() < SHORTEST { 0 } else { last };
    starts.filter_map(|start| {
        let rest = &text[start..];
        let length = secret.len().min(rest.len());
        (rest[..length] == secret[..length]).then_some(start..start + length)
    })
}

/// What is shorter is no proof of anything, and may be a part of any word.
const SHORTEST: usize = 6;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(answer: &[u8], hidden: &[&str]) -> Option<String> {
        let hidden: Vec<Vec<u8>> = hidden.iter().map(|one| one.as_bytes().to_vec()).collect();
        text(answer.to_vec(), &hidden)
    }

    #[test]
    fn an_answer_becomes_text_without_secrets() {
        let table: [(&[u8], &[&str], Option<&str>); 17] = [
            (b"", &[], None),
            (b" \r\n", &[], None),
            (b"no such customer\n", &["secret"], Some("no such customer")),
            (b"a\x1b[2J\nb", &[], Some("a\u{1b}[2J\nb")),
            (b"a\xffb", &[], Some("a\u{fffd}b")),
            ("grü".as_bytes(), &[], Some("grü")),
            (&"grü".as_bytes()[..3], &[], Some("gr")),
            (b"key=secret,secret", &["secret"], Some("key=******,******")),
            (br#""a\/b+cd=""#, &["a/b+cd="], Some(r#""********""#)),
            (
                b"Bearer long-sec",
                &["long-secret"],
                Some("Bearer ********"),
            ),
            (b"it is short", &["short", ""], Some("it is short")),
            (
                br#""a\u002Bb\"cde""#,
                &[r#"a+b"cde"#],
                Some(r#""*************""#),
            ),
            (b"<a&amp;b&#x3D;cd>", &["a&b=cd"], Some("<***************>")),
            (b"is a%2Bb%3Dcd!", &["a+b=cd"], Some("is **********!")),
            (b"is a+b=cd!", &["a%2Bb%3dcd"], Some("is ******!")),
            (b"cut: a+b=cd\\u00", &["a+b=cd&e"], Some("cut: **********")),
            (b"abcabcabcab", &["abcabcab"], Some("***********")),
        ];
        for (answer, hidden, expected) in table {
            assert_eq!(shown(answer, hidden).as_deref(), expected, "{answer:?}");
        }
    }

    proptest! {
        /// In whatever notation, also one within another.
        #[test]
        fn no_notation_shows_a_secret(
            secret in r#"[a-z/+=&<"é]{6,20}"#,
            notations in proptest::collection::vec(0..4usize, 0..4),
        ) {
            let shown = notations.iter().fold(secret.clone(), |text, notation| match notation {
                0 => serde_json::to_string(&text).unwrap(),
                1 => text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&#34;"),
                2 => crate::percent_encode(&text).into_owned(),
                _ => { text.encode_utf16() }.map(|unit| format!("\\u{unit:04x}")).collect(),
            });
            prop_assume!(shown.len() < KEPT);
            let text = text(shown.clone().into_bytes(), &[secret.into_bytes()]).unwrap();
            let rest = text.chars().filter(|one| *one != '*').collect::<String>();
            // The quotes around a text in JSON.
            let rest = View::of(rest.as_bytes()).unescaped().bytes;
            prop_assert!(rest.iter().all(|byte| b"\"\\".contains(byte)), "{shown}: {text}");
        }

        /// Wherever a secret stands and the answer is cut.
        #[test]
        fn no_answer_shows_a_secret(
            secret in "[a-z/+=]{6,40}",
            words in proptest::collection::vec("[a-z/+= \u{7}é]{0,9}", 1..9),
            length in 0..KEPT,
        ) {
            let mut answer = words.join(&secret).into_bytes();
            answer.truncate(length);
            let text = text(answer, &[secret.clone().into_bytes()]).unwrap_or_default();
            prop_assert!(!text.contains(&secret));
            prop_assert!(!text.ends_with(&secret[..SHORTEST]));
        }
    }
}
