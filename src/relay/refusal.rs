//! What a subscriber says when it refuses an event: the beginning of its answer's body, without our secrets.
//!
//! Some programs answer an error with the request that they were sent. So what proves a request is
//! replaced by stars, byte for byte, before anything is stored.

use memchr::memmem;

/// How much of an answer is kept, in bytes.
pub(super) const KEPT: usize = 512;

/// The text of these bytes, at most [`KEPT`], without the `hidden` ones. `None` if there is none.
pub(super) fn text(mut answer: Vec<u8>, hidden: &[Vec<u8>]) -> Option<String> {
    for secret in hidden {
        hide(&mut answer, secret);
        // As PHP's JSON writes it.
        if secret.contains(&b'/') {
            let escaped = secret.iter().flat_map(|byte| match byte {
                b'/' => &b"\\/"[..],
                byte => std::slice::from_ref(byte),
            });
            hide(&mut answer, &escaped.copied().collect::<Vec<u8>>());
        }
    }
    // The last character may have been cut.
    if let Err(error) = str::from_utf8(&answer)
        && error.error_len().is_none()
    {
        answer.truncate(error.valid_up_to());
    }
    let text = String::from_utf8_lossy(&answer).trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Replaces each occurrence of `secret`, and its beginning at the end of an answer that was cut.
fn hide(answer: &mut [u8], secret: &[u8]) {
    if secret.len() < SHORTEST {
        return;
    }
    let found: Vec<usize> = memmem::find_iter(answer, secret).collect();
    for start in found {
        answer[start..start + secret.len()].fill(b'*');
    }
    let longest = secret.len().min(answer.len());
    let cut = (SHORTEST..=longest).rev();
    if let Some(cut) = cut
        .into_iter()
        .find(|cut| answer.ends_with(&secret[..*cut]))
    {
        let start = answer.len() - cut;
        answer[start..].fill(b'*');
    }
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
        let table: [(&[u8], &[&str], Option<&str>); 11] = [
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
        ];
        for (answer, hidden, expected) in table {
            assert_eq!(shown(answer, hidden).as_deref(), expected, "{answer:?}");
        }
    }
    proptest! {
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
