//! Writes [server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html).

use std::fmt::{Display, Write as _};

/// Adds an event. `data` has no line breaks, as JSON has none. With an `id` the client goes on behind it when it
/// comes back.
pub(super) fn add(to: &mut String, id: Option<&dyn Display>, event: &str, data: &str) {
    if let Some(id) = id {
        // A String takes any text.
        let _ = writeln!(to, "id: {id}");
    }
    for piece in ["event: ", event, "\ndata: ", data, "\n\n"] {
        to.push_str(piece);
    }
}

/// What a stream begins with: how long a client waits before it comes back, and after which event it goes on then
/// if it has got none.
pub(super) fn opening(from: &dyn Display) -> String {
    format!("retry: {RETRY_MS}\nid: {from}\n\n")
}

/// Adds only after which event a client goes on that comes back.
pub(super) fn place(to: &mut String, at: &dyn Display) {
    // A String takes any text.
    let _ = write!(to, "id: {at}\n\n");
}

/// A comment, which clients skip.
pub(super) const HEARTBEAT: &str = ": \n\n";

const RETRY_MS: u32 = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_events() {
        let mut text = opening(&"7.1");
        add(&mut text, Some(&8), "event", r#"{"a":1}"#);
        place(&mut text, &9);
        add(&mut text, None, "bye", "{}");
        assert_eq!(
            text,
            "retry: 2000\nid: 7.1\n\nid: 8\nevent: event\ndata: {\"a\":1}\n\nid: 9\n\nevent: bye\ndata: {}\n\n"
        );
    }
}
