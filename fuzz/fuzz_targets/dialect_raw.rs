//! No text makes the dialect `raw` panic, give no event, or too many.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offhook::dialect::Raw;

#[path = "../checks/mod.rs"]
#[allow(dead_code)]
mod checks;

fuzz_target!(|body: &str| {
    let raw = Raw::default().event("/event/type").or_event("/event");
    let raw = raw.session("/a/0").each("/events");
    checks::dialect::check(&raw.event_field("a").id_fields(["b"]), body);
});
