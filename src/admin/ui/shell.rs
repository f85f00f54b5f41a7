//! The page that holds all pages: it has no data, and is the same for everyone.

use actix_web::http::header::{CONTENT_SECURITY_POLICY, ContentType};
use actix_web::{HttpRequest, HttpResponse};
use maud::{DOCTYPE, Markup, html};

use super::assets::{ICON, SCRIPT, STYLE};
use crate::admin::state::State;

/// Every path of a page.
pub(super) async fn page(state: State, request: HttpRequest) -> HttpResponse {
    let base = format!(
        "{}{}/",
        state.access.now().path_prefix,
        mounted_at(&request)
    );
    HttpResponse::Ok()
        .insert_header(ContentType::html())
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(shell(&base).into_string())
}

/// The path of the scope in which the admin API is mounted; empty on a listener of its own.
fn mounted_at(request: &HttpRequest) -> &str {
    let pattern = request.match_pattern().unwrap_or_default();
    let below = PAGES.iter().filter(|page| pattern.ends_with(**page));
    let below = below
        .map(|page| page.matches('/').count())
        .max()
        .unwrap_or(1);
    let path = request.path();
    let mut slashes = path.rmatch_indices('/');
    slashes.nth(below - 1).map_or("", |(at, _)| &path[..at])
}

/// Nothing runs, loads or is sent but what the listener itself serves, and no text becomes markup but through
/// the script's own policy. `'self'` as a base is for `<base>` behind a prefix.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
     form-action 'none'; base-uri 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types offhook";

fn shell(base: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "offhook" }
                base href=(base);
                link rel="icon" href={ "assets/" (ICON.name) };
                link rel="stylesheet" href={ "assets/" (STYLE.name) };
                script type="module" src={ "assets/" (SCRIPT.name) } {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    a href="" { "offhook" }
                    nav aria-label="Pages" {
                        @for (page, name, things, key) in NAVIGATION {
                            a href=(page) data-page=(page) data-keys={ "g " (key) } { (name) " " b {} span.unseen { " " (things) } }
                        }
                    }
                    div.tools {
                        span #connection data-state="off" { i {} span { "connecting" } }
                        button #theme type="button" title="Colours: as the system, light or dark" { "Theme: " span { "auto" } }
                        button #forget type="button" title="Forget the token of this tab" { "Token" }
                    }
                }
                main #main tabindex="-1" aria-busy="true" {
                    noscript { (without_script()) }
                }
                footer #zone {}
                p #said role="status" {}
                (dialogs())
                template #failure {
                    article {
                        div.head { h1 { "This cannot be shown" } }
                        p.note.is-bad {}
                    }
                }
            }
        }
    }
}

fn without_script() -> Markup {
    html! {
        p { "The pages need JavaScript. The same is on the command line:" }
        pre { "offhook events\noffhook consumers\noffhook dead" }
    }
}

fn dialogs() -> Markup {
    html! {
        dialog #token aria-labelledby="token-title" {
            form method="dialog" {
                h2 #token-title { "Admin token" }
                p { "This server wants a token: " code { "token" } " or " code { "viewer_token" } " of " code { "[admin]" }
                    " in its settings. It is kept for this tab." }
                label { "Token" input name="token" type="password" autocomplete="off" required pattern="[!-~]+" title="Visible ASCII, without spaces"; }
                output role="alert" {}
                div.end { button.go type="submit" { "Continue" } }
            }
        }
        dialog #confirm aria-labelledby="confirm-text" {
            form method="dialog" {
                p #confirm-text {}
                label hidden { span { "Type " b {} " to confirm" } input name="typed" autocomplete="off" inputmode="numeric"; }
                output role="alert" {}
                div.end {
                    button type="button" data-close { "Cancel" }
                    button.go type="submit" { "Confirm" }
                }
            }
        }
        dialog #panel aria-label="Form" {}
        dialog #keys aria-labelledby="keys-title" {
            h2 #keys-title { "Keys" }
            dl.facts {
                @for (keys, what) in KEYS {
                    dt { @for key in keys.split(' ') { kbd { (key) } " " } }
                    dd { (what) }
                }
            }
            div.end { button type="button" data-close { "Close" } }
        }
    }
}

/// The paths of all pages.
pub(super) const PAGES: [&str; 10] = [
    "/",
    "/events",
    "/events/{id}",
    "/conversations",
    "/consumers",
    "/consumers/{name}",
    "/dead",
    "/refused",
    "/refused/{id}",
    "/settings",
];

/// Each page with its name, with what its number counts, and with its key.
const NAVIGATION: [(&str, &str, &str, &str); 7] = [
    ("", "Now", "", "n"),
    ("events", "Events", "", "e"),
    ("conversations", "Conversations", "", "v"),
    ("consumers", "Consumers", "", "c"),
    ("dead", "Dead", "letters", "d"),
    ("refused", "Refused", "requests", "r"),
    ("settings", "Settings", "", "s"),
];

const KEYS: [(&str, &str); 11] = [
    ("g n", "Now; g and e, v, c, d, r, s: the other pages"),
    ("/", "filter"),
    ("j k", "next and previous row"),
    ("Enter", "open the row"),
    ("x", "select the row"),
    ("r", "replay what is selected, after a preview"),
    ("l", "live on or off"),
    ("y", "copy the id"),
    ("[ ]", "newer, older"),
    ("Esc", "back"),
    ("?", "this list"),
];
