//! [`Pieces`]: a SHA-256 over many small pieces.

use sha2::{Digest as _, Sha256};

/// The SHA-256 of all pieces, one behind the other. Each call of the hasher costs about as much as the bytes of a short
/// piece, so short pieces are gathered first.
#[derive(Debug)]
pub(crate) struct Pieces {
    hasher: Sha256,
    /// What the hasher has not got yet, at its beginning.
    gathered: [u8; GATHERED],
    length: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        Self {
            hasher: Sha256::new(),
            gathered: [0; GATHERED],
            length: 0,
        }
    }
}

impl Pieces {
    /// Adds the next piece.
    #[inline]
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        if bytes.len() > GATHERED - self.length {
            return self.add_beyond(bytes);
        }
        self.gathered[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Adds a piece for which there is no room beside what is gathered.
    #[cold]
    fn add_beyond(&mut self, bytes: &[u8]) {
        self.hasher.update(&self.gathered[..self.length]);
        self.length = 0;
        if bytes.len() > GATHERED {
            self.hasher.update(bytes);
        } else {
            self.add(bytes);
        }
    }

    /// The hash of all pieces.
    pub(crate) fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.gathered[..self.length]);
        self.hasher.finalize().into()
    }
}

const GATHERED: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Keys and contents are stored, so their hashes must not depend on how they were divided.
        #[test]
        fn pieces_hash_as_a_whole(pieces in vec(vec(any::<u8>(), 0..=GATHERED + 1), 0..12)) {
            let mut hasher = Pieces::default();
            for piece in &pieces {
                hasher.add(piece);
            }
            let whole: [u8; 32] = Sha256::digest(pieces.concat()).into();
            prop_assert_eq!(hasher.finish(), whole);
        }
    }
}
