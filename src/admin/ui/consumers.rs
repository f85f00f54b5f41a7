//! Consumers: how far each is, and the form that adds a subscription.

use actix_web::HttpResponse;
use maud::{Markup, html};
use serde_json::Value;

use super::parts::{
    Page, beginning, count, fragment, segment, short_name, state as state_of, when,
};
use crate::EventKind;
use crate::admin::consumers;
use crate::admin::error::ApiError;
use crate::admin::role::Role;
use crate::admin::state::State;

/// `GET /ui/consumers`
pub(super) async fn page(state: State, role: Role) -> Result<HttpResponse, ApiError> {
    let all = consumers::all(&state).await?;
    let content = html! {
        div.head {
            h1 { "Consumers" }
            span.end { (add(role)) }
        }
        @if all.is_empty() {
            p { "No handler and no subscriber: events are kept and nobody gets them." }
        } @else {
            (table(&all))
        }
    };
    Ok(Page::new("Consumers").answer(&state, &content).await)
}

fn add(role: Role) -> Markup {
    html! { @if role.may_change() { a.button data-panel href="ui/subscription" { "Add subscription" } } }
}

fn table(all: &[Value]) -> Markup {
    html! {
        table {
            caption.unseen { "All consumers" }
            thead { tr {
                th scope="col" { "Consumer" } th scope="col" { "State" } th.number scope="col" { "Lag" }
                th.number.wide-only scope="col" { "Running" } th.number.wide-only scope="col" { "Retrying" }
                th.wide-only scope="col" { "Oldest waiting" } th.wide-only scope="col" { "Failing since" }
                th.wide-only scope="col" { "Last error" }
            } }
            tbody {
                @for one in all.iter().take(MOST_SHOWN) {
                    @let name = one["name"].as_str().unwrap_or_default();
                    tr {
                        th scope="row" {
                            a.row href={ "consumers/" (segment(name)) } { (short_name(name)) }
                            " " small.wide-only { (one["kind"].as_str().unwrap_or_default()) }
                        }
                        td { (state_of(one["state"].as_str().unwrap_or("unknown"))) }
                        td.number { (count(&one["lag"])) }
                        td.number.wide-only { (count(&one["in_flight"])) }
                        td.number.wide-only { (count(&one["retrying"])) }
                        td.wide-only { (when(&one["oldest_waiting"])) }
                        td.wide-only { (when(&one["failing_since"])) }
                        td.wide-only { (beginning(one["failing_reason"].as_str().unwrap_or_default(), 120)) }
                    }
                }
            }
        }
        @if all.len() > MOST_SHOWN { p.quiet { "The first " (MOST_SHOWN) " of " (all.len()) "; `offhook consumers` lists all." } }
    }
}

/// `GET /ui/subscription`: the form that adds one.
pub(super) async fn form(role: Role) -> Result<HttpResponse, ApiError> {
    role.check_change()?;
    let kinds = EventKind::ALL.map(EventKind::as_str);
    Ok(fragment(html! {
        form method="dialog" data-method="POST" data-path="sessions/{session}/webhook" data-create data-done="The subscription is added." {
            h2 { "Add subscription" }
            label { "Name" input name="name" placeholder="default" autocomplete="off" maxlength="64"; }
            label { "URL that events are POSTed to" input name="webhookUrl" type="url" required placeholder="https://crm.example/webhook"; }
            label { "Session (* = all)" input name="session" value="*" required autocomplete="off"; }
            label { "Secret that signs them" input name="secret" type="password" autocomplete="new-password"; }
            fieldset {
                legend.quiet { "Events (none ticked = all)" }
                @for kind in kinds { label.box { input type="checkbox" name="events[]" value=(kind); (kind) } }
            }
            p.quiet { "It starts from now. One that replaces another goes on where that was." }
            output role="alert" {}
            div.end {
                button type="button" data-close { "Cancel" }
                button.go type="submit" { "Add subscription" }
            }
        }
    }))
}

const MOST_SHOWN: usize = 200;
