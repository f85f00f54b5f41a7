//! What is read of the journal's files is what was written, or nothing; and no bytes make their readers panic.

use std::path::Path;

use offhook::journal_files::{make_block, make_segment, read_block, read_segment};

use super::Input;

/// Makes a block and a dedup segment of `input`, alters them, and reads them and `input` itself. The folder is
/// for the files.
pub fn check(input: &[u8], folder: &Path) {
    for format in 2..=5 {
        let third = input.len() / 3;
        let (keys, rest) = input.split_at(third);
        let (bodies, sums) = rest.split_at(third);
        read_block(format, (1, 1 + input.len() as u64), [keys, bodies, sums]);
    }
    for end in ["run", "keys", "dedup"] {
        read_segment(folder, input, end, 3).expect("a file is written");
    }
    let mut input = Input(input);
    let place =
        usize::from(input.byte().unwrap_or(0)) * 256 + usize::from(input.byte().unwrap_or(0));
    let bit = input.byte().unwrap_or(0) % 8;
    check_block(&mut input, place, bit);
    check_segment(&mut input, folder, place, bit);
}

fn check_block(input: &mut Input<'_>, place: usize, bit: u8) {
    let count = 1 + input.byte().unwrap_or(0) % 20;
    let bodies = (0..count).map(|_| {
        let length = input.byte().unwrap_or(0) % 32;
        input.bytes(length.into())
    });
    let bodies: Vec<&[u8]> = bodies.collect();
    let mut blobs = make_block(&bodies);
    let numbers = (1, u64::from(count));
    let (keys, read) = read_block(5, numbers, blobs.each_ref().map(Vec::as_slice));
    assert_eq!(keys, Some(bodies.len()));
    let read = read.expect("nothing is altered");
    assert!(
        read.iter()
            .zip(&bodies)
            .all(|(read, body)| read.as_deref() == Some(*body))
    );

    let lengths = blobs.each_ref().map(Vec::len);
    let mut at = place % lengths.iter().sum::<usize>();
    let blob = lengths.iter().position(|length| {
        let is_in = at < *length;
        at -= if is_in { 0 } else { *length };
        is_in
    });
    let blob = blob.expect("it is in one of them");
    blobs[blob][at] ^= 1 << bit;
    let (keys, read) = read_block(5, numbers, blobs.each_ref().map(Vec::as_slice));
    match (blob, read) {
        (0, Some(read)) => assert!(keys.is_none() && read.iter().all(Option::is_some)),
        (1, Some(read)) => {
            assert_eq!(read.iter().filter(|read| read.is_none()).count(), 1);
            let whole = read.iter().zip(&bodies).filter(|(read, _)| read.is_some());
            whole.for_each(|(read, body)| assert_eq!(read.as_deref(), Some(*body)));
        }
        (2, None) => assert_eq!(keys, None),
        (_, read) => panic!("{blob}: {keys:?} {read:?}"),
    }
}

fn check_segment(input: &mut Input<'_>, folder: &Path, place: usize, bit: u8) {
    let keys = u64::from(input.byte().unwrap_or(0)) * 3 + 1;
    let whole = make_segment(folder, keys).expect("a file is written");
    let found = read_segment(folder, &whole, "dedup", keys).expect("a file is written");
    assert_eq!(found as u64, keys);
    let mut altered = whole;
    let place = place % altered.len();
    altered[place] ^= 1 << bit;
    read_segment(folder, &altered, "dedup", keys).expect("a file is written");
    altered.truncate(place);
    read_segment(folder, &altered, "dedup", keys).expect("a file is written");
}
