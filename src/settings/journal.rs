//! `[journal]`: which engine. There is one so far.

use super::read::Table;

pub(super) fn read(table: &Table<'_>) {
    if let Some(engine) = table.string("engine")
        && engine != "none"
    {
        let text = match engine.as_str() {
            "sqlite" | "nats" => format!(
                "this version has no engine {engine:?} yet; allowed: none (nothing is kept: handlers \
                 run before the answer, and when one fails the sender is answered 500)"
            ),
            other => format!("found {other:?}; allowed: none"),
        };
        table.problem("engine", text);
    }
    for key in ["path", "retention", "dedup_window", "dedup_window_unkeyed"] {
        table.not_yet(key, "journal");
    }
    table.finish();
}
