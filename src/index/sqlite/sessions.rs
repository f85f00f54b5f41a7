//! [`SessionFilter`]: tells whether a segment may hold events of a session, without reading it.
//!
//! A Bloom filter with 10 bits and 7 probes a session: of the segments without the session, one in
//! a hundred is read for nothing. The filter is stored as plain bytes, so a search probes them in
//! SQLite's page without a copy.

/// A filter under construction.
#[derive(Debug)]
pub(super) struct SessionFilter(Vec<u8>);

impl SessionFilter {
    /// Makes a filter with room for `count` sessions.
    pub(super) fn for_sessions(count: usize) -> Self {
        Self(vec![0; (count * 10).div_ceil(8)])
    }

    pub(super) fn insert(&mut self, session: &str) {
        let bits = self.0.len() as u64 * 8;
        for bit in probes(hash(session), bits) {
            self.0[(bit / 8) as usize] |= 1 << (bit % 8);
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Returns whether a filter of these bytes may hold the session with this [`hash`].
pub(super) fn may_contain(filter: &[u8], hash: u64) -> bool {
    let bits = filter.len() as u64 * 8;
    let set = |bit: u64| filter[(bit / 8) as usize] & (1 << (bit % 8)) != 0;
    bits > 0 && probes(hash, bits).all(set)
}

/// FNV-1a with the last step of MurmurHash3. It is stored, so it must never change.
pub(super) fn hash(session: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for byte in session.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    mix(hash)
}

/// Derives all probes from two hashes (Kirsch and Mitzenmacher, 2006).
fn probes(hash: u64, bits: u64) -> impl Iterator<Item = u64> {
    let step = mix(hash) | 1;
    (0..7u64).map(move |probe| hash.wrapping_add(probe.wrapping_mul(step)) % bits.max(1))
}

fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_contained_and_little_else() {
        for count in [0, 1, 2, 7, 100, 8192] {
            let mut filter = SessionFilter::for_sessions(count);
            for number in 0..count {
                filter.insert(&format!("session-{number}"));
            }
            let contains =
                |number: usize| may_contain(filter.as_bytes(), hash(&format!("session-{number}")));
            assert!((0..count).all(contains));
            let false_hits = (count..count + 10_000)
                .filter(|number| contains(*number))
                .count();
            // About 100 are expected; small filters are rounded to whole bytes.
            assert!(false_hits < 250, "{false_hits} of 10,000 with {count}");
        }
    }

    #[test]
    fn the_hash_is_the_same_for_ever() {
        assert_eq!(hash(""), 0xefd0_1f60_ba99_2926);
        assert_eq!(hash("408f7372"), 0x2911_94db_84d6_9886);
    }
}
