//! What holds for every dialect and every text.

use offhook::dialect::Dialect;

/// There is an event, not too many, the same with contents, and each can be shown.
pub fn check(dialect: &dyn Dialect, body: &str) {
    let events = dialect.events(&body.into());
    assert!((1..=16_384).contains(&events.len()), "{}", events.len());
    let (hashed, _) = dialect.with_contents(&body.into());
    assert_eq!(hashed, events);
    for event in &events {
        serde_json::to_string(event).expect("a typed event is JSON");
    }
}
