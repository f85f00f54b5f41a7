//! What is stored of a deleted body: its id (16) and the time of its receipt in nanoseconds (8), then the length
//! of an absent text (4), where other bodies have their source, and the time of the deletion in milliseconds
//! since 1970 (8). All numbers are little-endian.

use uuid::Uuid;

use crate::{Received, Timestamp};

/// Returns what is stored of a body that is deleted now, at `at`. If it is too damaged to have an id, the id is
/// nil.
pub(super) fn of(body: &[u8], at: i64) -> Vec<u8> {
    let mut left = body
        .get(..ID_AND_TIME)
        .unwrap_or(&[0; ID_AND_TIME])
        .to_vec();
    left.extend(ABSENT);
    left.extend(at.to_le_bytes());
    left
}

/// Returns what is left of a deleted body, and when it was deleted; `None` for any other body.
pub(super) fn read(body: &[u8]) -> Option<(Received, Timestamp)> {
    let (id, rest) = body.split_first_chunk()?;
    let (received_at, rest) = rest.split_first_chunk()?;
    let at = rest.strip_prefix(&ABSENT)?.try_into().ok()?;
    let mut received = Received::new("", "");
    received.id = Uuid::from_bytes(*id);
    let received_at = i64::from_le_bytes(*received_at);
    received.received_at = Timestamp::from_nanosecond(received_at.into()).ok()?;
    let at = Timestamp::from_millisecond(i64::from_le_bytes(at)).ok()?;
    Some((received, at))
}

/// The length of an id and a time.
const ID_AND_TIME: usize = 24;

/// The length of a text that is absent.
const ABSENT: [u8; 4] = [0xff; 4];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_id_and_the_times_are_left() {
        let id = Uuid::from_u128(7);
        let mut body = id.as_bytes().to_vec();
        body.extend(5_000_000_i64.to_le_bytes());
        body.extend([3, 0, 0, 0]);
        body.extend(b"the source and the rest");
        assert!(read(&body).is_none());
        let left = of(&body, 9);
        let (received, at) = read(&left).unwrap();
        assert_eq!((received.id, at.as_millisecond()), (id, 9));
        assert_eq!(received.received_at.as_millisecond(), 5);
        assert!(received.body.is_empty() && received.source.is_empty());
        assert_eq!(of(&left, 10)[..28], left[..28]);
        for length in 0..left.len() {
            assert!(read(&left[..length]).is_none());
        }
        assert!(read(&of(&body[..23], 9)).unwrap().0.id.is_nil());
    }
}
