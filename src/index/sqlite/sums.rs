//! The checksums of the index: what the disk returns is what was written, and in its place.
//!
//! A blob ends with 8 bytes, little-endian, of SipHash-1-3 over the bytes before. Its key is what the blob
//! is and the id of its row, so a blob in the place of another is damage too.

use std::hash::Hasher as _;

use rusqlite::types::Value;
use siphasher::sip::SipHasher13;

/// What a checksum is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Events = 1,
    Filter = 2,
    Attempts = 3,
    Row = 4,
}

/// Adds the checksum to a blob.
pub(super) fn seal_blob(kind: Kind, id: i64, mut blob: Vec<u8>) -> Vec<u8> {
    let sum = sum(kind, id, &blob);
    blob.extend(sum.to_le_bytes());
    blob
}

/// Returns what was given to [`seal_blob`]; `None` for any other bytes.
pub(super) fn open_blob(kind: Kind, id: i64, sealed: &[u8]) -> Option<&[u8]> {
    let (blob, end) = sealed.split_last_chunk()?;
    (sum(kind, id, blob) == u64::from_le_bytes(*end)).then_some(blob)
}

/// Returns the checksum of a row's numbers and blobs.
pub(super) fn sum_of(values: &[Value]) -> i64 {
    let mut bytes = Vec::new();
    for value in values {
        match value {
            Value::Integer(number) => bytes.extend(number.to_le_bytes()),
            Value::Blob(blob) => bytes.extend(blob),
            // No row has others.
            _ => bytes.push(0),
        }
    }
    sum(Kind::Row, 0, &bytes).cast_signed()
}

fn sum(kind: Kind, id: i64, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(kind as u64, id.cast_unsigned());
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_read_only_unchanged_in_its_place() {
        let sealed = seal_blob(Kind::Events, 7, b"events".to_vec());
        assert_eq!(open_blob(Kind::Events, 7, &sealed), Some(&b"events"[..]));
        assert_eq!(open_blob(Kind::Events, 8, &sealed), None);
        assert_eq!(open_blob(Kind::Filter, 7, &sealed), None);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 4;
            assert_eq!(open_blob(Kind::Events, 7, &altered), None);
            assert_eq!(open_blob(Kind::Events, 7, &sealed[..at]), None);
        }
    }
}
