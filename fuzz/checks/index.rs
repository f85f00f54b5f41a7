//! A blob of the index is read as it was written, or not at all; and no bytes make its decoders panic.

use offhook::index_blobs::{make, read};

use super::Input;

/// Makes blobs with texts from `input`, alters them, and reads them and `input` itself.
pub fn check(input: &[u8]) {
    for count in read(input, true).into_iter().flatten() {
        assert!(count <= input.len());
    }
    let mut input = Input(input);
    let (place, bit) = (input.byte().unwrap_or(0), input.byte().unwrap_or(0) % 8);
    let texts: Vec<String> = (0..input.byte().unwrap_or(0) % 40)
        .map(|_| {
            let length = input.byte().unwrap_or(0) % 16;
            String::from_utf8_lossy(input.bytes(length.into())).into_owned()
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let [events, attempts] = make(&texts);
    if !texts.is_empty() {
        assert_eq!(read(&events, false), [Some(texts.len()), None]);
    }
    assert_eq!(read(&attempts, false), [None, Some(texts.len())]);
    for blob in [events, attempts] {
        let mut altered = blob.clone();
        let place = usize::from(place) * 7 % altered.len();
        altered[place] ^= 1 << bit;
        assert_eq!(read(&altered, false), [None, None]);
        assert_eq!(read(&blob[..place], false), [None, None]);
        read(&altered, true);
        read(&blob[..place], true);
    }
}
