//! No text makes a dialect panic, or give no event.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::dialect::{Codeskytz, Dialect, Raw};

fuzz_target!(|body: &str| {
    let raw = Raw::default().event("/event").session("/data/0/session");
    for dialect in [&Codeskytz as &dyn Dialect, &raw] {
        assert!(!dialect.events(&body.into()).is_empty());
    }
});
