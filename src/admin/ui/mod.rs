//! The dashboard: a static shell without data, and the fragments that its script fetches.
//!
//! Every page path answers the same shell (`shell.rs`), which is open. The script in `assets/` puts the fragment
//! of the page, from the same path below `/ui`, into it; those need the token as the API does. A fragment is
//! rendered from what the handlers of the API answer, one file a page:
//!
//! - `now.rs` (with `problems.rs`), `events.rs`, `event.rs` (with `timeline.rs` and `around.rs`), `conversations.rs`, `consumers.rs`, `consumer.rs`, `dead.rs`,
//!   `refused.rs`, `settings.rs` (with `toml.rs`).
//! - `subscription.rs`: what a consumer that is a subscription has beside others.
//! - `replay.rs`: what a replay would hand over, before it is asked for.
//! - `pretty.rs`: JSON with line breaks, in the order of its sender.
//! - `bars.rs`: numbers of the last hour as a picture.
//! - `parts.rs`: what several pages have: times, states, links, buttons.
//!
//! What must hold: a fragment has at most 256 KiB. What comes from a sender is escaped by maud, and is never an
//! address of a link but behind a `?` or as one percent-encoded segment. Nothing is loaded from elsewhere.

mod around;
mod assets;
mod bars;
mod consumer;
mod consumers;
mod conversations;
mod dead;
mod event;
mod events;
mod now;
mod parts;
mod pretty;
mod problems;
mod refused;
mod replay;
mod settings;
mod shell;
mod subscription;
mod timeline;
mod toml;

use actix_web::web;

/// The pages, their assets and their fragments.
pub(super) fn routes(app: &mut web::ServiceConfig) {
    for path in shell::PAGES {
        app.route(path, web::get().to(shell::page));
    }
    app.route("/assets/{name}", web::get().to(assets::asset))
        .route("/ui/now", web::get().to(now::page))
        .route("/ui/events", web::get().to(events::page))
        .route("/ui/events/{id}", web::get().to(event::page))
        .route("/ui/conversations", web::get().to(conversations::page))
        .route("/ui/consumers", web::get().to(consumers::page))
        .route("/ui/consumers/{name}", web::get().to(consumer::page))
        .route("/ui/subscription", web::get().to(subscription::form))
        .route("/ui/dead", web::get().to(dead::page))
        .route("/ui/dead/all", web::get().to(dead::all))
        .route("/ui/refused", web::get().to(refused::page))
        .route("/ui/refused/{id}", web::get().to(refused::page_of_one))
        .route("/ui/settings", web::get().to(settings::page))
        .route("/ui/reload", web::get().to(settings::preview))
        .route("/ui/replay", web::get().to(replay::form));
}

/// Whether the path is a page or an asset: those hold no data, and a link from anywhere may lead to them.
pub(super) fn is_open(path: &str) -> bool {
    let mut parts = path.trim_start_matches('/').split('/');
    matches!(
        (parts.next().unwrap_or_default(), parts.next(), parts.next()),
        ("" | "conversations" | "dead" | "settings", None, None)
            | ("events" | "consumers" | "refused", _, None)
            | ("assets", Some(_), None)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_and_assets_are_open() {
        for path in [
            "/",
            "",
            "/events",
            "/events/0198",
            "/consumers/subscription%3A*%3Acrm",
            "/dead",
            "/assets/app.js",
        ] {
            assert!(is_open(path), "{path}");
        }
        for path in [
            "/ui/now",
            "/api/events",
            "/metrics",
            "/sessions/a/webhook",
            "/events/1/2",
            "/none",
            "/ui",
            "/assets",
        ] {
            assert!(!is_open(path), "{path}");
        }
    }
}
