//! A few thousand inputs of the fuzz targets `guard`, `decoding`, `journal` and `index`, always the same ones.

use super::checks::{decoding, dialect, guard::Guarded, index, journal, scheme};
use crate::support::Folder;

/// Pseudo-random inputs, of 300 bytes at most.
fn inputs(count: usize) -> impl Iterator<Item = Vec<u8>> {
    // xorshift64*, by Marsaglia and Vigna.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..count).map(move |_| {
        let length = next() % 300;
        (0..length).map(|_| (next() >> 32) as u8).collect()
    })
}

/// How many inputs; `OFFHOOK_TEST_INPUTS` says so for a longer run.
fn many(usual: usize) -> usize {
    let asked = std::env::var("OFFHOOK_TEST_INPUTS");
    asked.map_or(usual, |asked| asked.parse().unwrap())
}

#[test]
fn connections_answer_arbitrary_pieces_as_one() {
    let server = Guarded::start();
    for input in inputs(1500) {
        server.check(&input);
    }
}

#[test]
fn arbitrary_bodies_are_decoded_within_limits() {
    for input in inputs(4000) {
        decoding::check(&input);
    }
}

#[test]
fn arbitrary_texts_are_events_of_every_dialect() {
    for input in inputs(2000) {
        for one in crate::dialects::all() {
            dialect::check(&*one, &String::from_utf8_lossy(&input));
        }
    }
}

#[test]
fn arbitrary_files_are_read_or_refused() {
    let folder = Folder::new("arbitrary-files");
    for input in inputs(500) {
        journal::check(&input, &folder.0);
    }
}

#[test]
fn arbitrary_blobs_of_the_index_are_read_or_refused() {
    for input in inputs(4000) {
        index::check(&input);
    }
}

#[test]
fn arbitrary_requests_are_signed_or_refused() {
    for target in scheme::TARGETS {
        let schemes = scheme::of(target);
        for input in inputs(many(500)) {
            scheme::check(&schemes, &input);
        }
    }
}
