//! What must hold for any input. The fuzz targets `guard`, `decoding`, `dialect_*`, `journal` and `index` make the inputs of what they find;
//! `tests/it/identity/arbitrary.rs` runs a few thousand of them in `./test`.

pub mod decoding;
pub mod dialect;
pub mod guard;
pub mod index;
pub mod journal;
pub mod scheme;

/// Takes pieces from an input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// The next byte; `None` at the end.
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    /// The next bytes, `length` at most.
    fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}
