//! [`cut`]: names and ids from senders have a length.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};

/// The text, or, where it is longer than [`MAX_NAME`] bytes, its beginning and a hash of all of it, which
/// together are not longer. So two long texts are the same only if they were before.
///
/// Sessions, event names, and what conversations are told apart by are cut: each is held in many places,
/// and shown.
pub(crate) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_NAME {
        return Cow::Borrowed(text);
    }
    let hash = const_hex::encode(&Sha256::digest(text)[..HASH]);
    let mut end = MAX_NAME - MARK.len() - hash.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}{MARK}{hash}", &text[..end]))
}

/// The most bytes of a name.
pub(crate) const MAX_NAME: usize = 1024;

/// How many bytes of the hash are kept: two texts do not have the same ones by chance, nor by effort.
const HASH: usize = 16;

const MARK: &str = "…#";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_and_stay_different() {
        let at_limit = "x".repeat(MAX_NAME);
        assert_eq!(cut(&at_limit), at_limit);
        let long = "x".repeat(MAX_NAME + 1);
        let other = "x".repeat(MAX_NAME + 2);
        assert!(cut(&long).len() <= MAX_NAME);
        assert_ne!(cut(&long), cut(&other));
        assert_eq!(cut(&cut(&long)), cut(&long));
        // It is not cut within a character.
        for shift in 0..4 {
            let wide = format!("{}{}", "x".repeat(shift), "ü".repeat(60_000));
            let short = cut(&wide);
            assert!(short.len() <= MAX_NAME && short.len() > MAX_NAME - 4);
        }
    }
}
