//! No text makes a dialect panic, give no event, or name another session than its first event does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::dialect::{Codeskytz, Dialect, Raw};

fuzz_target!(|body: &str| {
    let raw = Raw::default().event("/event").session("/data/0/session");
    for dialect in [&Codeskytz as &dyn Dialect, &raw] {
        let events = dialect.events(&body.into());
        let first = events.first().expect("there is at least one event");
        assert_eq!(dialect.session(&body.into()).as_deref(), first.session_id());
    }
});
