//! Consumers: how far each is.

use actix_web::HttpResponse;
use maud::{Markup, html};
use serde_json::Value;

use super::parts::{Page, beginning, count, segment, short_name, state as state_of, when};
use crate::admin::consumers;
use crate::admin::error::ApiError;
use crate::admin::role::Role;
use crate::admin::state::State;

/// `GET /ui/consumers`
pub(super) async fn page(state: State, role: Role) -> Result<HttpResponse, ApiError> {
    let head = state.head();
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
    let page = Page {
        stream: Some("api/stream?kinds=consumer,state,event,replay".to_owned()),
        after: head,
        ..Page::new("Consumers")
    };
    Ok(page.answer(&state, &content).await)
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
                        td.wide-only { (beginning(reason(one), 120)) }
                    }
                }
            }
        }
        @if all.len() > MOST_SHOWN { p.quiet { "The first " (MOST_SHOWN) " of " (all.len()) "; `offhook consumers` lists all." } }
    }
}

/// Why it hands nothing over.
fn reason(one: &Value) -> &str {
    let reasons = [
        &one["failing_reason"],
        &one["suspended"]["reason"],
        &one["ended"]["reason"],
    ];
    let mut reasons = reasons.into_iter().filter_map(Value::as_str);
    reasons.next().unwrap_or_default()
}

const MOST_SHOWN: usize = 200;
