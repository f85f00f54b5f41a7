//! A compact encoding of numbers and texts, from which the index's blobs are built.
//!
//! A number has seven bits a byte, lowest first; the eighth bit is set if more bytes follow. Signed
//! numbers are zigzag-encoded first, so that small ones stay short. A text is its length and its
//! bytes.

/// Appends a number.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a number that may be negative.
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// Appends a text.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Reads the values in the order in which they were written. A method returns `None` if the bytes
/// do not fit.
#[derive(Debug)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            number |= bits << shift;
            if byte < 0x80 {
                // The tenth byte has room for one bit.
                return (bits << shift >> shift == bits).then_some(number);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let folded = self.number()?;
        Some((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    /// Reads how many items follow, each of at least `least` bytes. A count that does not fit into
    /// the remaining bytes is invalid, so that no memory is reserved for it.
    pub(super) fn count(&mut self, least: usize) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.0.len() / least).then_some(count)
    }

    /// Reads an index into a list of `length` items.
    pub(super) fn index(&mut self, length: usize) -> Option<u32> {
        let index = u32::try_from(self.number()?).ok()?;
        ((index as usize) < length).then_some(index)
    }

    /// Returns whether everything was read.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_put_is_read(number: u64, signed: i64, small in -70i64..70, text: String) {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            put_signed(&mut bytes, signed);
            put_signed(&mut bytes, small);
            put_text(&mut bytes, &text);
            let mut read = Bytes(&bytes);
            prop_assert_eq!(read.number(), Some(number));
            prop_assert_eq!(read.signed(), Some(signed));
            prop_assert_eq!(read.signed(), Some(small));
            prop_assert_eq!(read.text(), Some(&*text));
            prop_assert!(read.is_empty());
            for cut in 0..bytes.len() {
                let mut read = Bytes(&bytes[..cut]);
                let all = (|| Some((read.number()?, read.signed()?, read.signed()?, read.text()?)))();
                prop_assert!(all.is_none());
            }
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let table: [(&[u8], Option<u64>); 6] = [
            (&[], None),
            (&[0x80], None),
            (&[0xff; 10], None),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
                Some(u64::MAX),
            ),
            (
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
                None,
            ),
            (&[0xac, 2], Some(300)),
        ];
        for (bytes, expected) in table {
            assert_eq!(Bytes(bytes).number(), expected, "{bytes:?}");
        }
        assert_eq!(Bytes(&[3, 0, 0]).count(1), None);
        assert_eq!(Bytes(&[2, 0, 0]).count(1), Some(2));
        assert_eq!(Bytes(&[2, 0, 0]).count(2), None);
        assert_eq!(Bytes(&[2]).index(2), None);
    }
}
