//! [`Row`]: the key of one row of a consumer's progress.

use uuid::Uuid;

use crate::dispatch::progress::Chunk;
use crate::journal::{Position, Seq};

/// One row of a consumer's progress. Its key is a letter and the numbers, most significant byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dispatch) enum Row {
    /// The settled bodies of a chunk that are above the floor, as a bitmap.
    Settled(Chunk),
    /// A partly settled body: the number of its events, and the settled ones, as JSON.
    Partly(Seq),
    /// An event that waits for a retry, as 20 bytes.
    Retry(Position),
    /// The events of a chunk that a replay has handed over and that are not settled again, as a bitmap.
    Replaying(Chunk),
    /// A replay, as JSON.
    Replay(Uuid),
    /// The events of a chunk that a replay has still to hand over, as a bitmap.
    Pending(Uuid, Chunk),
    /// The [bookmark](super::Bookmark), as JSON.
    Bookmark,
    /// Some of the newest statuses of messages.
    Statuses(u64),
}

impl Row {
    pub(in crate::dispatch) fn encode(self) -> Vec<u8> {
        let number = |letter: u8, number: u64| [&[letter][..], &number.to_be_bytes()].concat();
        match self {
            Self::Settled(chunk) => number(b's', chunk),
            Self::Partly(seq) => number(b'p', seq),
            Self::Retry(position) => number(b'r', position.to_bits()),
            Self::Replaying(chunk) => number(b'h', chunk),
            Self::Replay(id) => [&b"o"[..], id.as_bytes()].concat(),
            Self::Pending(id, chunk) => [&b"q"[..], id.as_bytes(), &chunk.to_be_bytes()].concat(),
            Self::Bookmark => b"b".to_vec(),
            Self::Statuses(row) => number(b't', row),
        }
    }

    /// Reads what [`Row::encode`] wrote; `None` for any other key.
    pub(in crate::dispatch) fn decode(key: &[u8]) -> Option<Self> {
        let (letter, rest) = key.split_first()?;
        let number = || rest.try_into().ok().map(u64::from_be_bytes);
        match letter {
            b's' => number().map(Self::Settled),
            b'p' => number().map(Self::Partly),
            b'r' => number().map(|bits| Self::Retry(Position::from_bits(bits))),
            b'h' => number().map(Self::Replaying),
            b'o' => Uuid::from_slice(rest).ok().map(Self::Replay),
            b'q' => {
                let (id, chunk) = rest.split_at_checked(16)?;
                let chunk = chunk.try_into().ok().map(u64::from_be_bytes)?;
                Some(Self::Pending(Uuid::from_slice(id).ok()?, chunk))
            }
            b'b' if rest.is_empty() => Some(Self::Bookmark),
            b't' => number().map(Self::Statuses),
            _ => None,
        }
    }
}
